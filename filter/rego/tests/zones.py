"""Packs Go's time zones into the table that `src/builtins/time/zones.rs` reads.

    python3 tests/zones.py "$(go env GOROOT)/lib/time/zoneinfo.zip" src/builtins/time/zones.bin

Table, all of it compressed with zlib: number of names, number of zones and bytes of names (16 bits each, low byte first);
for each name, sorted: how much of the last one is kept, how much is added, what is added, which zone; for each zone the
length of its record (16 bits); the records. A record: kinds (offset, abbreviation), the rule for the future, changes:
the first in seconds, then `(seconds since the last * kinds + kind) * 2 + unit`, where unit 0 is half an hour.
Numbers are of seven bits a byte, signed ones with the sign in the lowest bit. What the rule says anyway is left out.
"""

import calendar
import datetime
import struct
import sys
import zipfile
import zlib


def read_zone(data):
    """Times, kinds of them, kinds, rule, and the kind that holds before any change, as Go's `lookupFirstZone` says."""
    assert data[:4] == b"TZif"
    head = lambda at: struct.unpack(">6l", data[at + 20 : at + 44])
    at, size = 0, 4
    isut, isstd, leap, times, kinds, chars = head(0)
    if data[4:5] >= b"2":
        at = 44 + times * 5 + kinds * 6 + chars + leap * 8 + isstd + isut
        isut, isstd, leap, times, kinds, chars = head(at)
        size = 8
    at += 44
    when = list(struct.unpack(">%d%s" % (times, "q" if size == 8 else "l"), data[at : at + times * size]))
    at += times * size
    kind_of = list(data[at : at + times])
    at += times
    raw = [struct.unpack(">lBB", data[at + i * 6 : at + i * 6 + 6]) for i in range(kinds)]
    at += kinds * 6
    names = data[at : at + chars]
    at += chars + leap * (size + 4) + isstd + isut
    rule = data[at:].strip(b"\n").decode() if size == 8 else ""
    all_kinds = [(offset, bool(dst), names[i : names.index(b"\0", i)].decode()) for offset, dst, i in raw]
    first = 0
    if when and 0 in kind_of:
        standard = [i for i in range(kind_of[0] - 1, -1, -1) if not all_kinds[i][1]] if all_kinds[kind_of[0]][1] else []
        standard += [i for i, kind in enumerate(all_kinds) if not kind[1]]
        first = standard[0] if standard else 0
    return when, kind_of, all_kinds, rule, first


# === the rule for the future (POSIX TZ) ===


def number(text):
    digits = len(text) - len(text.lstrip("0123456789"))
    return int(text[:digits]), text[digits:]


def name(text):
    if text[0] == "<":
        end = text.index(">")
        return text[1:end], text[end + 1 :]
    end = next((i for i, c in enumerate(text) if c in "0123456789,-+"), len(text))
    return text[:end], text[end:]


def seconds(text):
    negative = text[0] == "-"
    value, text = number(text.lstrip("+-"))
    value *= 3600
    for unit in (60, 1):
        if text[:1] == ":":
            more, text = number(text[1:])
            value += more * unit
    return (-value if negative else value), text


def change(text):
    if text[0] == "J":
        day, text = number(text[1:])
        on = lambda year: day - 1 + (calendar.isleap(year) and day >= 60)
    elif text[0] == "M":
        month, text = number(text[1:])
        week, text = number(text[1:])
        weekday, text = number(text[1:])

        def on(year):
            first = datetime.date(year, month, 1)
            day = (weekday - first.isoweekday()) % 7
            for _ in range(1, week):
                if day + 7 < calendar.monthrange(year, month)[1]:
                    day += 7
            return (first - datetime.date(year, 1, 1)).days + day

    else:
        day, text = number(text)
        on = lambda year: day
    time = 7200
    if text[:1] == "/":
        time, text = seconds(text[1:])
    return (lambda year, offset: on(year) * 86400 + time - offset), text


def future(rule, unix):
    """Offset and abbreviation."""
    standard, text = name(rule)
    offset, text = seconds(text)
    offset = -offset
    if not text:
        return offset, standard
    summer, text = name(text)
    ahead = offset + 3600
    if text[0] != ",":
        ahead, text = seconds(text)
        ahead = -ahead
    starts, text = change(text[1:])
    ends, text = change(text[1:])
    year = datetime.datetime.fromtimestamp(unix, datetime.timezone.utc).year
    within = unix - calendar.timegm((year, 1, 1, 0, 0, 0))
    on, off = starts(year, offset), ends(year, ahead)
    is_summer = on <= within < off if on <= off else not off <= within < on
    return (ahead, summer) if is_summer else (offset, standard)


def cut(when, kind_of, kinds, rule):
    """Drops changes at the end that the rule says too: asked every 20 days and at the changes."""
    while rule and len(when) > 1 and not (when[-2] < 0 and "," in rule):
        before, after = ((kinds[i][0], kinds[i][2]) for i in kind_of[-2:])
        asked = [*range(when[-2], when[-1], 86400 * 20), when[-2] + 1, when[-1] - 1]
        if any(future(rule, unix) != before for unix in asked) or future(rule, when[-1]) != after:
            break
        when.pop()
        kind_of.pop()


# === the table ===


def unsigned(value):
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def signed(value):
    return unsigned(value << 1 if value >= 0 else (-value << 1) - 1)


def record(data):
    when, kind_of, kinds, rule, first = read_zone(data)
    cut(when, kind_of, kinds, rule)
    plain = [(kinds[i][0], kinds[i][2]) for i in [first, *kind_of]]
    used = list(dict.fromkeys(plain))
    changes, now = [], 0
    for at, kind in zip(when, (used.index(kind) for kind in plain[1:])):
        # The last one stays, changed or not: the rule begins with it.
        if kind != now or at == when[-1]:
            changes.append((at, kind))
            now = kind
    out = unsigned(len(used))
    for offset, abbreviation in used:
        out += signed(offset) + bytes([len(abbreviation)]) + abbreviation.encode()
    out += bytes([len(rule)]) + rule.encode() + unsigned(len(changes))
    last = None
    for at, kind in changes:
        if last is None:
            out += signed(at) + unsigned(kind)
        else:
            half_hours, rest = divmod(at - last, 1800)
            step, unit = (at - last, 1) if rest else (half_hours, 0)
            out += unsigned((step * len(used) + kind) * 2 + unit)
        last = at
    return out


def main():
    archive = zipfile.ZipFile(sys.argv[1])
    records, names, last = {}, b"", ""
    listed = sorted(name for name in archive.namelist() if not name.endswith("/"))
    for zone in listed:
        index = records.setdefault(record(archive.read(zone)), len(records))
        kept = next((i for i, (a, b) in enumerate(zip(last, zone)) if a != b), min(len(last), len(zone)))
        names += bytes([kept, len(zone) - kept]) + zone[kept:].encode() + unsigned(index)
        last = zone
    table = struct.pack("<HHH", len(listed), len(records), len(names)) + names
    table += b"".join(struct.pack("<H", len(record)) for record in records) + b"".join(records)
    open(sys.argv[2], "wb").write(zlib.compress(table, 9))


main()
