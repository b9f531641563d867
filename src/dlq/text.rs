//! Bytes of strangers as text for a terminal: readable where they are, escaped where they are not.
//!
//! Nothing that comes out moves the cursor, changes the direction of writing, or can be taken for another
//! line.

/// How much of a key or a value is shown.
const SHOWN_BYTES: usize = 400;

/// The bytes as text. A byte that is no UTF-8 is `\xff`, a character that is not to be seen `\u{202e}` or
/// `\n`, and a backslash `\\`.
pub(super) fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => text.push(character),
                _ => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The beginning of a key or a value, and how much there is where that isn't all; `null` where there is none.
pub(super) fn shown(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".into(),
        Some(bytes) if bytes.len() <= SHOWN_BYTES => readable(bytes),
        Some(bytes) => {
            // Not in the middle of a character.
            let is_start = |&at: &usize| bytes[at] & 0b1100_0000 != 0b1000_0000;
            let end = (SHOWN_BYTES - 3..=SHOWN_BYTES).rev().find(is_start);
            let text = readable(&bytes[..end.unwrap_or(SHOWN_BYTES)]);
            format!("{text}… ({} bytes)", bytes.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_stays_and_what_is_hostile_is_escaped() {
        for (bytes, text) in [
            (&br#"{"device_id":"a"}"#[..], r#"{"device_id":"a"}"#),
            ("größer 漢字".as_bytes(), "größer 漢字"),
            (b"\x1b[2J\r\nerror: no", r"\u{1b}[2J\r\nerror: no"),
            ("\u{202e}txt".as_bytes(), r"\u{202e}txt"),
            (b"\xff\x00\\x", r"\xff\0\\x"),
            (b"\xe2\x82", r"\xe2\x82"),
            (b"", ""),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }

    #[test]
    fn long_values_are_cut_and_say_how_long_they_are() {
        assert_eq!(shown(None), "null");
        assert_eq!(shown(Some(&[b'x'; 400])), "x".repeat(400));
        let cut = shown(Some("é".repeat(500).as_bytes()));
        assert!(cut.ends_with("é… (1000 bytes)"), "{cut}");
        let odd = shown(Some(format!("x{}", "é".repeat(500)).as_bytes()));
        assert!(odd.ends_with("é… (1001 bytes)"), "{odd}");
    }
}
