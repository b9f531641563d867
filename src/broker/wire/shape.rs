//! A look at a request before it is decoded: do its lengths and counts fit into its bytes?
//!
//! The decoder reserves memory for as many array elements as a request announces, and a request of twenty
//! bytes can announce two thousand million. Here the same bytes are walked without allocating anything.
//! What passes is as long as it says, and its elements are counted against one budget.

use crate::broker::limits;

/// The form of a field. Strings and byte strings may be null wherever the decoder judges that anyway.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// A number of bytes that is always the same.
    Fixed(usize),
    /// Text: a 16-bit length, or a varint in flexible versions.
    Text,
    /// Bytes: a 32-bit length, or a varint in flexible versions.
    Bytes,
    /// An array of values without fields.
    Values(&'static Field),
    /// An array of structures.
    Structs(&'static [Field]),
    /// Present from a version on.
    Since(i16, &'static Field),
    /// Present up to a version.
    Until(i16, &'static Field),
}

/// The form of a request.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The first version with varint lengths and tagged fields.
    pub flexible_since: i16,
    pub fields: &'static [Field],
}

/// The bytes are not a request of this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misshapen;

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Shape {
    /// Walks a request body, and says how many bytes follow it. Kafka ignores those, and has to be followed
    /// in this: librdkafka 2 writes a count too wide where it asks for all topics, so three bytes are left.
    pub fn check(&self, body: &[u8], version: i16) -> Result<usize, Misshapen> {
        let flexible = version >= self.flexible_since;
        let mut walk = Walk {
            rest: body,
            version,
            flexible,
            elements: limits::REQUEST_ELEMENTS,
        };
        walk.structure(self.fields)?;
        Ok(walk.rest.len())
    }
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), Misshapen> {
        for field in fields {
            self.field(field)?;
        }
        if self.flexible {
            for _ in 0..self.varint()? {
                self.element()?;
                self.varint()?;
                let size = self.varint()?;
                self.skip(size as usize)?;
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field) -> Result<(), Misshapen> {
        match field {
            Field::Fixed(size) => self.skip(*size),
            Field::Text => {
                let length = self.length(2)?;
                self.skip(length)
            }
            Field::Bytes => {
                let length = self.length(4)?;
                self.skip(length)
            }
            Field::Values(value) => self.array(|walk| walk.field(value)),
            Field::Structs(fields) => self.array(|walk| walk.structure(fields)),
            Field::Since(first, field) if self.version >= *first => self.field(field),
            Field::Until(last, field) if self.version <= *last => self.field(field),
            Field::Since(..) | Field::Until(..) => Ok(()),
        }
    }

    fn array(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), Misshapen>,
    ) -> Result<(), Misshapen> {
        let count = self.length(4)?;
        if count > self.elements {
            return Err(Misshapen);
        }
        for _ in 0..count {
            self.element()?;
            each(self)?;
        }
        Ok(())
    }

    fn element(&mut self) -> Result<(), Misshapen> {
        self.elements = self.elements.checked_sub(1).ok_or(Misshapen)?;
        Ok(())
    }

    /// A length or a count; null counts as 0. `width` bytes hold it where it is no varint.
    fn length(&mut self, width: usize) -> Result<usize, Misshapen> {
        if self.flexible {
            return Ok(self.varint()?.saturating_sub(1) as usize);
        }
        let (bytes, rest) = self.rest.split_at_checked(width).ok_or(Misshapen)?;
        self.rest = rest;
        let length = match bytes {
            [a, b] => i32::from(i16::from_be_bytes([*a, *b])),
            [a, b, c, d] => i32::from_be_bytes([*a, *b, *c, *d]),
            _ => return Err(Misshapen),
        };
        if length == -1 {
            Ok(0)
        } else {
            usize::try_from(length).map_err(|_| Misshapen)
        }
    }

    fn varint(&mut self) -> Result<u32, Misshapen> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Misshapen)?;
            self.rest = rest;
            if shift == 28 && byte > 0x0f {
                return Err(Misshapen);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Misshapen)
    }

    fn skip(&mut self, count: usize) -> Result<(), Misshapen> {
        self.rest = self.rest.get(count..).ok_or(Misshapen)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape {
        flexible_since: 1,
        fields: &[
            Field::Text,
            Field::Structs(&[Field::Fixed(4), Field::Values(&Field::Fixed(4))]),
        ],
    };

    #[test]
    fn counts_beyond_the_bytes_or_the_budget_are_misshapen() {
        let huge = [0, 0, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(SHAPE.check(&huge, 0), Err(Misshapen));
        let empty = [0, 0, 0, 0, 0, 0];
        assert_eq!(SHAPE.check(&empty, 0), Ok(0));
        let trailing = [0, 0, 0, 0, 0, 0, 0];
        assert_eq!(SHAPE.check(&trailing, 0), Ok(1));
        let negative = [0, 0, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(SHAPE.check(&negative, 0), Err(Misshapen));
        assert_eq!(SHAPE.check(&[0xff; 20], 1), Err(Misshapen));
        let count = u32::try_from(limits::REQUEST_ELEMENTS).expect("it fits") + 1;
        let mut many = vec![0, 0];
        many.extend(count.to_be_bytes());
        many.extend(vec![0; 8 * count as usize]);
        assert_eq!(SHAPE.check(&many, 0), Err(Misshapen));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(body: Vec<u8>, version in 0..2_i16) {
            SHAPE.check(&body, version).ok();
        }
    }
}
