import zipfile,struct,math,zlib,sys
z=zipfile.ZipFile('/usr/local/go/lib/time/zoneinfo.zip')
def parse(b):
    assert b[:4]==b'TZif'
    def hdr(o): return struct.unpack('>6l',b[o+20:o+44])
    ver=b[4:5]
    o=0
    g,s,l,t,ty,c=hdr(0)
    size=4
    if ver>=b'2':
        o=44+t*4+t+ty*6+c+l*8+s+g
        g,s,l,t,ty,c=hdr(o); size=8
    p=o+44
    times=struct.unpack('>%d%s'%(t,'q' if size==8 else 'l'),b[p:p+t*size]);p+=t*size
    idx=list(b[p:p+t]);p+=t
    types=[struct.unpack('>lBB',b[p+i*6:p+i*6+6]) for i in range(ty)];p+=ty*6
    ab=b[p:p+c];p+=c+l*(size+4)+s+g
    foot=b[p:].strip(b'\n').decode() if size==8 else ''
    types=[(o,bool(d),ab[a:ab.index(b'\0',a)].decode()) for o,d,a in types]
    # first zone as Go
    first=0
    if t and types:
        used0=any(i==0 for i in idx)
        if not used0: first=0
        else:
            first=None
            if types[idx[0]][1]:
                for zi in range(idx[0]-1,-1,-1):
                    if not types[zi][1]: first=zi;break
            if first is None:
                for zi,x in enumerate(types):
                    if not x[1]: first=zi;break
                else: first=0
    return list(times),idx,types,foot,first
# posix footer evaluation as Go's tzset
def tznum(s,mn,mx):
    i=0
    while i<len(s) and s[i].isdigit(): i+=1
    assert i; return int(s[:i]),s[i:]
def tzname(s):
    if s[0]=='<': i=s.index('>'); return s[1:i],s[i+1:]
    i=0
    while i<len(s) and s[i] not in '0123456789,-+': i+=1
    return s[:i],s[i:]
def tzoff(s):
    neg=False
    if s[0] in '+-': neg=s[0]=='-'; s=s[1:]
    h,s=tznum(s,0,168); o=h*3600
    if s[:1]==':':
        m,s=tznum(s[1:],0,59); o+=m*60
        if s[:1]==':': x,s=tznum(s[1:],0,59); o+=x
    return (-o if neg else o),s
def rule(s):
    if s[0]=='J': d,s=tznum(s[1:],1,365); r=('J',d)
    elif s[0]=='M':
        m,s=tznum(s[1:],1,12);w,s=tznum(s[1:],1,5);d,s=tznum(s[1:],0,6); r=('M',m,w,d)
    else: d,s=tznum(s,0,365); r=('D',d)
    t=7200
    if s[:1]=='/': t,s=tzoff(s[1:])
    return r+(t,),s
import calendar,datetime
def rtime(y,r,off):
    if r[0]=='M':
        _,m,w,d,t=r
        dow=(datetime.date(y,m,1).weekday()+1)%7
        dd=d-dow
        if dd<0: dd+=7
        for i in range(1,w):
            if dd+7>=calendar.monthrange(y,m)[1]: break
            dd+=7
        day=(datetime.date(y,m,1)-datetime.date(y,1,1)).days+dd
    elif r[0]=='J': day=r[1]-1+(1 if calendar.isleap(y) and r[1]>=60 else 0); t=r[2]
    else: day=r[1]; t=r[2]
    return day*86400+t-off
def tzset(f,sec):
    n,s=tzname(f);o,s=tzoff(s);o=-o
    if not s or s[0]==',': return n,o
    dn,s=tzname(s)
    if not s or s[0]==',': do=o+3600
    else: do,s=tzoff(s);do=-do
    if not s: s=',M3.2.0,M11.1.0'
    a,s=rule(s[1:]);b,s=rule(s[1:]);assert not s
    y=datetime.datetime.fromtimestamp(sec,datetime.timezone.utc).year
    ys=calendar.timegm((y,1,1,0,0,0)); q=sec-ys
    st,en=rtime(y,a,o),rtime(y,b,do)
    if en<st: st,en=en,st; n,dn=dn,n; o,do=do,o
    return (n,o) if q<st or q>=en else (dn,do)
def leb(n):
    o=b''
    while True:
        b=n&127;n>>=7
        if n:o+=bytes([b|128])
        else: return o+bytes([b])
def zz(n): return leb(n<<1 if n>=0 else (-n<<1)-1)
zones={};names=[]
tot=0
for n in sorted(z.namelist()):
    if n.endswith('/'): continue
    times,idx,types,foot,first=parse(z.read(n))
    # drop what the footer says
    while len(times)>1 and foot:
        # transition len-1 can go if footer gives the same just before next change for all up to it: from times[-2] on
        t0=times[-1]
        ok=True
        if times[-2]<0 and (',' in foot): break
        # at times[-2]..end the footer must give the right answer
        ty=types[idx[-2]]
        lo,hi=times[-2],times[-1]
        for s in (lo,lo+1,(lo+hi)//2,hi-1): ok=ok and tzset(foot,s)==(ty[2],ty[0])
        ty=types[idx[-1]]
        ok=ok and tzset(foot,hi)==(ty[2],ty[0])
        # every rule change inside must not exist: step by days
        s=lo
        while ok and s<hi:
            ok=tzset(foot,s)==(types[idx[-2]][2],types[idx[-2]][0]); s+=86400*20
        if not ok: break
        times.pop();idx.pop()
    # drop no-op transitions? keep
    used=[first]+idx
    order=[]
    for i in used:
        k=(types[i][0],types[i][2])
        if k not in order: order.append(k)
    ii=[order.index((types[i][0],types[i][2])) for i in idx]
    # merge transitions that change nothing
    T=[];I=[];cur=0
    for t,i in zip(times,ii):
        if i==cur: 
            # keep if it is the last (start of the footer)
            if t!=times[-1]: continue
        T.append(t);I.append(i);cur=i
    rec=leb(len(order))
    for o,a in order: rec+=zz(o)+bytes([len(a)])+a.encode()
    rec+=bytes([len(foot)])+foot.encode()
    d=[b-a for a,b in zip(T,T[1:])]
    unit=0
    for x in d[1:] if False else d: unit=math.gcd(unit,x)
    # the first delta may be odd: find best
    units=[3600,1800,900,300,60,20,1]
    rec+=leb(len(T))
    if T:
        rec+=zz(T[0])+leb(I[0])
        prev=T[0]
        for t,i in zip(T[1:],I[1:]):
            # align: transitions after are kept as absolute/900 if exact else flagged
            x=t-prev
            if x%1800==0: rec+=leb((x//1800*len(order)+i)*2)
            else: rec+=leb((x*len(order)+i)*2+1)
            prev=t
    tot+=len(T)
    if rec not in zones: zones[rec]=len(zones)
    names.append((n,zones[rec]))
print(len(names),len(zones),tot)
nb=b'';prev=''
for n,i in names:
    k=0
    while k<min(len(prev),len(n)) and prev[k]==n[k]: k+=1
    nb+=bytes([k,len(n)-k])+n[k:].encode()+leb(i)
    prev=n
recs=list(zones)
offs=b'';o=0
for r in recs: offs+=struct.pack('<H',len(r))
body=b''.join(recs)
out=struct.pack('<HHH',len(names),len(recs),len(nb))+nb+offs+body
print(len(nb),len(offs),len(body),len(out),len(zlib.compress(out,9)))
if len(sys.argv)>1: open(sys.argv[1],'wb').write(out)
