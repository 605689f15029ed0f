//! A BTF section, read in place (Documentation/bpf/btf.rst).
//!
//! A kernel's section describes 150,000 types, and only six structs are needed. So only the offset
//! of each type is stored: reading a section takes half a megabyte for a moment.

use std::collections::BTreeMap;

use super::BtfError;

/// `BTF_MAGIC` in include/uapi/linux/btf.h, which defines all of the following, too.
pub const MAGIC: u16 = 0xeb9f;
/// The most that is read; a distribution's kernel has about 6 MiB.
pub const MAX_BYTES: usize = 64 << 20;
/// `struct btf_type`.
const TYPE_BYTES: usize = 12;
/// `struct btf_member`.
const MEMBER_BYTES: usize = 12;

/// The kinds of types that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    /// A typedef, a qualifier or a tag: another name for a type.
    Alias,
    /// The type of a function.
    Prototype,
    Other,
}

/// One type.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    pub kind: Kind,
    /// The size in bytes or the id of another type: the kind says which.
    pub size_or_type: u32,
    name: u32,
    /// Number of members, or of a function's arguments.
    pub count: usize,
    /// Whether members contain their width in bits.
    has_widths: bool,
    /// Where the data after the type's header starts.
    body: usize,
}

/// One member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub name: u32,
    pub of: u32,
    /// Offset, in bits.
    pub bits: u32,
    pub is_bitfield: bool,
}

/// The section.
#[derive(Debug)]
pub struct Section<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts, by its id less one.
    starts: Vec<u32>,
}

impl<'a> Section<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        if bytes.len() > MAX_BYTES {
            return Err(BtfError::Malformed("larger than any kernel's"));
        }
        if bytes.get(..2) != Some(&MAGIC.to_ne_bytes()) {
            return Err(BtfError::Malformed("wrong magic or byte order"));
        }
        let part = |at: usize| {
            let start = word(bytes, 4)?.checked_add(word(bytes, at)?)? as usize;
            let end = start.checked_add(word(bytes, at + 4)? as usize)?;
            bytes.get(start..end)
        };
        let outside = BtfError::Malformed("a part lies beyond the end");
        let (Some(types), Some(strings)) = (part(8), part(16)) else {
            return Err(outside);
        };
        let mut section = Self {
            types,
            strings,
            starts: Vec::new(),
        };
        let mut at = 0;
        while at < types.len() {
            let length = section.length_at(at)?;
            // Below MAX_BYTES, so it fits.
            section.starts.push(at as u32);
            at += length;
        }
        if at != types.len() {
            return Err(BtfError::Malformed("the last type is cut off"));
        }
        Ok(section)
    }

    /// The type with this id; there is none for `void`, which is 0.
    pub fn get(&self, id: u32) -> Option<Type> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.type_at(*self.starts.get(index)? as usize)
    }

    /// The types of this kind that have one of these names, in one pass over the section.
    pub fn named<'n>(
        &self,
        kind: Kind,
        names: impl IntoIterator<Item = &'n str>,
    ) -> BTreeMap<&'n str, Vec<Type>> {
        let mut all: BTreeMap<_, _> = names.into_iter().map(|name| (name, Vec::new())).collect();
        let types = self
            .starts
            .iter()
            .filter_map(|at| self.type_at(*at as usize));
        for found in types.filter(|found| found.kind == kind) {
            let name = self
                .name(found.name)
                .and_then(|name| str::from_utf8(name).ok());
            if let Some(same) = name.and_then(|name| all.get_mut(name)) {
                same.push(found);
            }
        }
        all
    }

    /// A name by its offset.
    pub fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }

    /// The members of a struct or union.
    pub fn members(&self, holder: &Type) -> impl Iterator<Item = Member> {
        let (body, has_widths) = (holder.body, holder.has_widths);
        (0..holder.count).filter_map(move |index| {
            let at = body + index * MEMBER_BYTES;
            let place = word(self.types, at + 8)?;
            Some(Member {
                name: word(self.types, at)?,
                of: word(self.types, at + 4)?,
                bits: if has_widths { place & 0xff_ffff } else { place },
                is_bitfield: has_widths && place >> 24 != 0,
            })
        })
    }

    /// The element type and the length of an array.
    pub fn array(&self, array: &Type) -> Option<(u32, u32)> {
        Some((
            word(self.types, array.body)?,
            word(self.types, array.body + 8)?,
        ))
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = word(self.types, at + 4)?;
        let kind = match kind_of(info) {
            1 => Kind::Int,
            2 => Kind::Pointer,
            3 => Kind::Array,
            4 => Kind::Struct,
            5 => Kind::Union,
            6 | 19 => Kind::Enum,
            8..=11 | 18 => Kind::Alias,
            13 => Kind::Prototype,
            _ => Kind::Other,
        };
        Some(Type {
            kind,
            size_or_type: word(self.types, at + 8)?,
            name: word(self.types, at)?,
            count: count_of(info),
            has_widths: info >> 31 != 0,
            body: at + TYPE_BYTES,
        })
    }

    /// How many bytes the type at `at` takes.
    fn length_at(&self, at: usize) -> Result<usize, BtfError> {
        let cut_off = BtfError::Malformed("a type is cut off");
        let Some(info) = word(self.types, at + 4) else {
            return Err(cut_off);
        };
        let count = count_of(info);
        let body = match kind_of(info) {
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => 0,
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            // Array.
            3 => 12,
            // Enum, function prototype.
            6 | 13 => count * 8,
            // Struct, union, data section, 64-bit enum.
            4 | 5 | 15 | 19 => count * 12,
            unknown => return Err(BtfError::UnknownKind(unknown)),
        };
        Ok(TYPE_BYTES + body)
    }
}

const fn kind_of(info: u32) -> u32 {
    info >> 24 & 0x1f
}

const fn count_of(info: u32) -> usize {
    (info & 0xffff) as usize
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}
