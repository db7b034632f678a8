//! The shortest text of a float64, as Go's `strconv` picks it.

/// `d.ddde±x` as Rust's `{:e}` writes it. Where two texts are as short and as near, Go takes the even one and
/// Rust the larger.
pub(crate) fn shortest(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let odd = mantissa.bytes().last().is_some_and(|last| last % 2 == 1);
    // Fewer digits lie far from the middle of two.
    if digits < 16 || !odd {
        return text;
    }
    // The exact value has at most so many digits more: the next must be a five, and nothing after it.
    let exact = format!("{value:.120e}");
    let (exact, _) = exact.split_once('e').unwrap_or((&exact, ""));
    let (head, tail) = exact.split_at_checked(mantissa.len()).unwrap_or((exact, ""));
    if tail.trim_end_matches('0') != "5" || head >= mantissa {
        return text;
    }
    let lower = format!("{head}e{exponent}");
    if lower.parse() == Ok(value) { lower } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_texts_in_the_same_distance_the_even_one_is_taken() {
        assert_eq!(shortest(231_330_415_535_673.13), "2.3133041553567312e14");
        assert_eq!(shortest(-231_330_415_535_673.13), "-2.3133041553567312e14");
        for value in [0.1, 1.0, 1e21, 5e-324, 1.797_693_134_862_315_7e308, 0.3, 123_456_789.125] {
            assert_eq!(shortest(value), format!("{value:e}"));
        }
    }
}
