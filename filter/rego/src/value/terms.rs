//! Ground terms of Rego as text, for tables of cases: what `Value::to_rego` writes, read again.

use super::{Number, Value};

/// The value that the text is; panics where it is none.
pub(crate) fn term(text: &str) -> Value {
    let mut reader = Reader { rest: text };
    let value = reader.value();
    assert_eq!(reader.rest.trim(), "", "after the term in {text}");
    value
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Value {
        if self.eat("null") {
            return Value::Null;
        }
        if self.eat("true") {
            return Value::Bool(true);
        }
        if self.eat("false") {
            return Value::Bool(false);
        }
        if self.eat("set()") {
            return Value::set(Vec::new()).unwrap();
        }
        if self.eat("\"") {
            return Value::from(self.string());
        }
        if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat("]") {
                items.push(self.value());
                self.eat(",");
            }
            return Value::array(items).unwrap();
        }
        if self.eat("{") {
            if self.eat("}") {
                return Value::object(Vec::new()).unwrap();
            }
            let first = self.value();
            if self.eat(":") {
                let mut pairs = vec![(first, self.value())];
                while !self.eat("}") {
                    assert!(self.eat(","), "{}", self.rest);
                    let key = self.value();
                    assert!(self.eat(":"), "{}", self.rest);
                    pairs.push((key, self.value()));
                }
                return Value::object(pairs).unwrap();
            }
            let mut members = vec![first];
            while !self.eat("}") {
                assert!(self.eat(","), "{}", self.rest);
                members.push(self.value());
            }
            return Value::set(members).unwrap();
        }
        let end = self.rest.find([',', ':', ']', '}', ' ']).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        Value::Number(Number::from_text(number))
    }

    fn string(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let mut chars = self.rest.chars();
            let c = chars.next().expect("the end of the string");
            self.rest = chars.as_str();
            match c {
                '"' => return out,
                '\\' => {
                    let kind = chars.next().expect("an escape");
                    self.rest = chars.as_str();
                    let mut hex = |digits: usize| {
                        let (hex, rest) = self.rest.split_at(digits);
                        self.rest = rest;
                        u32::from_str_radix(hex, 16).expect("hexadecimal digits")
                    };
                    match kind {
                        'x' => out.push(hex(2) as u8),
                        'u' | 'U' => {
                            let c =
                                char::from_u32(hex(if kind == 'u' { 4 } else { 8 })).expect("a character");
                            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                        'a' => out.push(7),
                        'b' => out.push(8),
                        'f' => out.push(12),
                        'n' => out.push(b'\n'),
                        'r' => out.push(b'\r'),
                        't' => out.push(b'\t'),
                        'v' => out.push(11),
                        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}
