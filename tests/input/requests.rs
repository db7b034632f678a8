//! Requests: picked by hand for what is read in more than one way, and generated.

use host_harness::servers::client;

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

// === impl Case ===

impl Case {
    fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: None }
    }

    fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    pub(crate) fn http1(&self) -> client::Request {
        let mut request = client::Request::new(&self.method, &self.path).header("host", "any.test");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match &self.body {
            Some(body) => request.body(body.as_bytes()),
            None => request,
        }
    }
}

/// All of them, the same in every run.
pub(crate) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = PATHS.iter().map(|path| Case::get(path)).collect();
    cases.extend(METHODS.iter().map(|method| Case::new(method, "/m")));
    cases.extend(by_hand());
    let mut random = fastrand::Rng::with_seed(7);
    cases.extend((0..120).map(|_| generated(&mut random)));
    cases
}

const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/a/b",
    "//a",
    "///",
    "/a//b",
    "/a/./b",
    "/a/../b",
    "/..",
    "/%2e%2e/a",
    "/a%2Fb",
    "/a%2fb/c",
    "/a%5Cb",
    "/a%20b",
    "/a+b",
    "/%C3%A9",
    "/%41",
    "/a;b=c/d",
    "/a%3Bb",
    "/a:b@c",
    "/a~b_c-d.e",
    "/a,b",
    "/a'b(c)",
    "/a|b",
    "/%",
    "/%zz",
    "/%4",
    "/%e9",
    "/%00",
    "/a%00b",
    "/%0d%0a",
    "/%25",
    "/%252e",
    "/*",
    "/a?",
    "/?",
    "/?a",
    "/?a=",
    "/?=a",
    "/?a=1",
    "/?a=1&a=2",
    "/?a=1&b=2&a=3",
    "/?a+b=c+d",
    "/?a=b%20c",
    "/?a=%2B",
    "/?a;b",
    "/?a=1;b=2",
    "/?a=%",
    "/?%zz=1",
    "/?%C3%A9=%C3%A9",
    "/?%ff=1",
    "/?&&",
    "/?a&&b",
    "/?a=b=c",
    "/?a=?",
    "/?a=/b/c",
    "/?a[]=1&a[]=2",
    "/?a=%00",
    "/a?b?c",
    "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t",
    "/?A=1&a=2",
    "/A/b",
    "/?a=%26&b=%3D",
];

const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "PURGE", "REPORT"];

fn by_hand() -> Vec<Case> {
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    vec![
        Case::get("/").header("x-a", "1").header("x-a", "2"),
        Case::get("/").header("x-a", "1").header("x-b", "2").header("X-A", "3"),
        Case::get("/").header("x-a", "1,2").header("x-a", "3"),
        Case::get("/").header("x-empty", ""),
        Case::get("/").header("x-empty", "").header("x-empty", "1"),
        Case::get("/").header("X-Upper", "Value"),
        Case::get("/").header("cookie", "a=1; b=2"),
        Case::get("/").header("cookie", "a=1").header("cookie", "b=2"),
        Case::get("/").header("authorization", "Bearer a.b.c"),
        Case::get("/").header("authorization", "Basic dXNlcjpwYXNz"),
        Case::get("/").header("accept", "text/html, */*;q=0.1"),
        Case::get("/").header("x-request-id", "mine"),
        Case::get("/").header("x-forwarded-for", "10.9.8.7"),
        Case::get("/").header("x-forwarded-for", "10.9.8.7, 1.1.1.1").header("x-forwarded-proto", "https"),
        Case::get("/").header("x-envoy-downstream-service-cluster", "shop"),
        Case::get("/").header("x-envoy-internal", "true"),
        Case::get("/").header("x-envoy-external-address", "10.1.1.1"),
        Case::get("/").header("x-forwarded-client-cert", "By=spiffe://a;Hash=b"),
        Case::get("/").header("x-envoy-original-path", "/other"),
        Case::get("/").header("te", "trailers"),
        Case::get("/").header("x-long", &"y".repeat(8_000)),
        Case::get("/").header("x-quotes", "a\"b\\c").header("x-tab", "a\tb"),
        Case::get("/").header("x-html", "<a&b>"),
        Case::get("/").header("x-utf8", "é ✓"),
        Case::get("/").header("content-type", json),
        Case::get("/").header("content-type", form),
        Case::get("/").header("content-type", "multipart/form-data; boundary=x"),
        Case::get("/").header("content-type", "multipart/form-data"),
        Case::get("/").header("content-type", "application/grpc"),
        Case::get("/").header("content-type", "text/plain; was=application/json"),
        Case::new("POST", "/").header("content-length", "0"),
        Case::new("POST", "/").header("content-length", "0").header("content-type", json),
        Case::new("POST", "/").header("content-length", "0").header("content-type", form),
        Case::new("POST", "/").body("{\"a\": 1}").header("content-type", json),
        Case::new("POST", "/").body("a=1&b=2").header("content-type", form),
        Case::new("PUT", "/").body("text").header("content-type", "text/plain"),
        Case::new("PATCH", "/").body("x"),
        Case::new("POST", "/").header("expect", "100-continue").header("content-length", "0"),
        Case::get("/").header("referer", "http://a.test/b?c#d").header("user-agent", "curl/8"),
        Case::get("/").header("x-http-method-override", "DELETE"),
        Case::get("/").header("if-none-match", "\"abc\""),
        Case::get("/").header("upgrade", "websocket").header("connection", "upgrade"),
    ]
}

/// Bodies of every kind that opa-envoy-plugin reads, whole and broken, and up to more than it is sent.
pub(crate) fn with_bodies(max_bytes: usize) -> Vec<Case> {
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let multipart = "multipart/form-data; boundary=X";
    let part = |headers: &str, content: &str| format!("--X\r\n{headers}\r\n\r\n{content}\r\n");
    let named = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
    let end = "--X--\r\n";
    let long = |bytes: usize| format!("\"{}\"", "a".repeat(bytes - 2));
    let mut all: Vec<(&str, String)> = Vec::new();
    for body in [
        r#"{"a": 1, "a": 2}"#,
        r#"{"a":{"b":[null,true,false,"c"]}}"#,
        "[1.0, 1e2, 12345678901234567890, -0, 1e30]",
        "null",
        "7",
        r#""\u00e9\ud83d\ude00é""#,
        r#" {"a" : 1} "#,
        r#"{"a":1} x"#,
        r#"{"a":"#,
        "  ",
        "{'a': 1}",
        "NaN",
        "[1,]",
        "\u{feff}{}",
        "",
        r#"{"": 1, "__proto__": 2}"#,
        "[[[[[[[[[[]]]]]]]]]]",
        "true false",
    ] {
        all.push((json, body.to_owned()));
    }
    for content_type in [
        "application/json; charset=utf-8",
        "text/plain; was=application/json",
        "text/plain",
        "",
        "application/jsonp",
    ] {
        all.push((content_type, r#"{"a": 1}"#.to_owned()));
        all.push((content_type, "no JSON".to_owned()));
    }
    for body in ["a=1&a=2&b&=c&d=%20+x", "a=1;b=2", "a=%zz", "&&", "a=b=c", "%61=%C3%A9", "a", ""] {
        all.push((form, body.to_owned()));
    }
    let file =
        "Content-Disposition: form-data; name=\"f\"; filename=\"a.json\"\r\nContent-Type: application/json";
    for body in [
        part(&named("a"), "b") + end,
        part(&named("a"), "b") + &part(&named("a"), "c") + &part(&named("d"), "") + end,
        part(file, r#"{"x": [1]}"#) + end,
        part(file, "{") + end,
        part("Content-Disposition: attachment; name=\"a\"", "x") + end,
        part("X-A: 1", "x") + end,
        part("Content-Disposition: form-data; name=a", "x") + end,
        "preamble\r\n".to_owned() + &part(&named("a"), "b") + end,
        part(&named("a"), "b") + "--X--",
        part(&named("a"), "b"),
        "no boundary at all".to_owned(),
        end.to_owned(),
        String::new(),
    ] {
        all.push((multipart, body));
    }
    all.push(("multipart/form-data", part(&named("a"), "b") + end));
    all.push(("multipart/form-data; boundary=", part(&named("a"), "b") + end));
    for bytes in [max_bytes - 1, max_bytes, max_bytes + 1, 3 * max_bytes] {
        all.push((json, long(bytes)));
        all.push(("text/plain", long(bytes)));
    }
    let case = |(content_type, body): (&str, String)| match content_type {
        "" => Case::new("POST", "/").body(&body),
        content_type => Case::new("POST", "/").body(&body).header("content-type", content_type),
    };
    all.into_iter().map(case).collect()
}

fn generated(random: &mut fastrand::Rng) -> Case {
    const PIECES: &[&str] =
        &["a", "B", "%20", "%2F", "/", "..", ".", "é", "%C3%A9", "-", "_", "~", "0", "%7e", ",", "="];
    const QUERY: &[&str] = &["a", "b", "=", "&", "+", "%20", "%26", "1", "x", "?", "/", "[]"];
    let mut path = "/".to_owned();
    for _ in 0..random.usize(..8) {
        path.push_str(PIECES[random.usize(..PIECES.len())]);
    }
    // HTTP/1 takes no bytes beyond ASCII there.
    let mut path = path.replace('é', "%C3%A9");
    if random.bool() {
        path.push('?');
        for _ in 0..random.usize(..10) {
            path.push_str(QUERY[random.usize(..QUERY.len())]);
        }
    }
    let mut case = Case::new(METHODS[random.usize(..METHODS.len())], &path);
    for _ in 0..random.usize(..6) {
        let name = format!("x-{}", random.u8(..4));
        let length = random.usize(..12);
        let value: String = (0..length).map(|_| char::from(random.u8(b'!'..b'~'))).collect();
        case = case.header(&name, &value);
    }
    case
}
