//! `key=value` pairs, as the filter writes them: a value that has spaces, quotes or nothing in it stands between `"`, in
//! which `\` escapes.

/// The fields of a text, in order. A word without `=` is a field without a value.
///
/// Errors: the text ends within quotes.
pub(super) fn fields(text: &str) -> Result<Vec<(&str, String)>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix('=') else {
            fields.push((key, String::new()));
            rest = after.trim_start();
            continue;
        };
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted).ok_or("a quote is open at its end")?,
            None => {
                let end = value.find(' ').unwrap_or(value.len());
                let (value, after) = value.split_at(end);
                (value.to_owned(), after)
            }
        };
        fields.push((key, value));
        rest = after.trim_start();
    }
    Ok(fields)
}

/// What stands before the closing quote, and what stands behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        fields(text).unwrap().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    #[test]
    fn values_have_quotes_where_they_have_spaces() {
        let expected = [("a", "1"), ("b", "two words"), ("c", ""), ("d", "x=y"), ("e", "")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read(r#"a=1 b="two words" c= d=x=y  e"#), expected);
    }

    #[test]
    fn escapes_stand_for_what_would_end_the_value_or_the_line() {
        assert_eq!(
            read(r#"a="say \"no\"" b="\\" c="1\n2" d="\u0041""#)[..3],
            [
                ("a".to_owned(), "say \"no\"".to_owned()),
                ("b".to_owned(), "\\".to_owned()),
                ("c".to_owned(), "1\n2".to_owned()),
            ]
        );
        assert_eq!(read(r#"d="\u0041""#)[0].1, "\\u0041", "an escape that is none stays what it is");
    }

    #[test]
    fn a_value_cannot_make_a_field() {
        assert_eq!(read(r#"bundle="shop generation=9" generation=3"#).len(), 2);
    }

    #[test]
    fn an_open_quote_is_an_error() {
        assert_eq!(fields(r#"a=1 cause="cut of"#), Err("a quote is open at its end"));
        assert_eq!(fields(r#"cause="\"#), Err("a quote is open at its end"));
        assert_eq!(fields(""), Ok(vec![]));
    }
}
