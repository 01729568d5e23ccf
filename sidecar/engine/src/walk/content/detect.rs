//! Which encoding a text is in, or why a file is none.
//!
//! In this order: a byte-order mark; the beginning of a binary format; UTF-16 or UTF-32 by its pattern of NULs; UTF-8, also with
//! a few bytes that are not; what the file itself declares; what the statistics of `chardetng` say. A guess counts only
//! where everything can be decoded and reads like text.

use std::io;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{GB18030, GBK, ISO_2022_JP, WINDOWS_1252};

use super::decode::decode;
use super::survey::{Survey, is_control};
use super::{Blocks, magic};

/// How a text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8. Bytes that are not well-formed are read as windows-1252, one by one.
    Utf8,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// UTF-32, low byte first.
    Utf32Le,
    /// UTF-32, high byte first.
    Utf32Be,
    /// One of the Encoding Standard, such as Shift_JIS.
    Legacy(&'static encoding_rs::Encoding),
}

/// Why a file is not text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotText {
    /// It has the beginning of a format, or bytes that no text has; says which.
    Binary(String),
    /// It has no bytes that text cannot have, and no encoding makes it readable.
    UnknownEncoding,
}

/// Marks at the beginning of a text. That of UTF-32 begins with that of UTF-16.
const MARKS: [(&[u8], Encoding); 5] = [
    (b"\xef\xbb\xbf", Encoding::Utf8),
    (b"\xff\xfe\0\0", Encoding::Utf32Le),
    (b"\0\0\xfe\xff", Encoding::Utf32Be),
    (b"\xff\xfe", Encoding::Utf16Le),
    (b"\xfe\xff", Encoding::Utf16Be),
];

/// One control byte in so many is more than text has.
const TEXT_PER_CONTROL: u64 = 10;
/// One control byte in so many is more than text has that is not well-formed UTF-8: a tenth of compressed data are control bytes.
const LEGACY_PER_CONTROL: u64 = 50;
/// Well-formed characters for each stray byte, for a text to be UTF-8 all the same.
const WIDE_PER_STRAY: u64 = 4;
/// Characters in a hundred that must be letters, digits, spaces or usual signs.
const READABLE_PERCENT: u64 = 90;
/// A text of so many characters has a space or a line end.
const LONGEST_WORD: u64 = 1_000;
/// Where a file may say how it is encoded.
const DECLARATION_BYTES: usize = 1_024;

impl Encoding {
    /// The usual name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf16Le => "UTF-16LE",
            Encoding::Utf16Be => "UTF-16BE",
            Encoding::Utf32Le => "UTF-32LE",
            Encoding::Utf32Be => "UTF-32BE",
            Encoding::Legacy(encoding) => encoding.name(),
        }
    }
}

/// Whether the first bytes of a longer file are enough to say that it is not text.
pub fn detect_head(head: &[u8]) -> Result<(), NotText> {
    let mut survey = Survey::default();
    survey.feed(head); // what is cut off at its end is not counted
    match with_mark(head) {
        Some(_) => Ok(()),
        None => not_text(&survey),
    }
}

/// The encoding of a text and the length of its byte-order mark.
pub fn detect(blocks: &mut dyn Blocks) -> io::Result<Result<(Encoding, usize), NotText>> {
    let mut survey = Survey::default();
    blocks.each_block(&mut |block| survey.feed(block))?;
    survey.finish();
    if let Some((encoding, mark)) = with_mark(&survey.head)
        && is_marked(blocks, encoding, mark, &survey)?
    {
        return Ok(Ok((encoding, mark)));
    }
    if let Err(reason) = not_text(&survey) {
        return Ok(Err(reason));
    }
    if let Some(encoding) = by_nuls(&survey)
        && Reading::of(blocks, encoding)?.is_text(0)
    {
        return Ok(Ok((encoding, 0)));
    }
    if too_many_controls(survey.controls, survey.length, survey.stray == 0) {
        return Ok(Err(NotText::Binary(what_bytes(&survey))));
    }
    if survey.stray == 0 {
        if survey.has_escape && Reading::of(blocks, Encoding::Legacy(ISO_2022_JP))?.is_japanese() {
            return Ok(Ok((Encoding::Legacy(ISO_2022_JP), 0)));
        }
        return Ok(Ok((Encoding::Utf8, 0)));
    }
    if survey.stray * WIDE_PER_STRAY <= survey.wide {
        return Ok(Ok((Encoding::Utf8, 0)));
    }
    legacy(blocks, &survey)
}

/// What a byte-order mark says.
fn with_mark(head: &[u8]) -> Option<(Encoding, usize)> {
    MARKS.iter().find(|(mark, _)| head.starts_with(mark)).map(|(mark, encoding)| (*encoding, mark.len()))
}

/// Whether a file with a byte-order mark is in the encoding that it names.
fn is_marked(blocks: &mut dyn Blocks, encoding: Encoding, mark: usize, survey: &Survey) -> io::Result<bool> {
    if encoding == Encoding::Utf8 {
        let plain = !too_many_controls(survey.controls, survey.length, true);
        return Ok(plain && survey.stray * WIDE_PER_STRAY <= survey.wide);
    }
    let reading = Reading::of_marked(blocks, encoding, mark)?;
    Ok(reading.is_text(1 + reading.characters / 100))
}

/// What the survey alone says against text, UTF-16 included.
fn not_text(survey: &Survey) -> Result<(), NotText> {
    let head_controls = survey.head.iter().filter(|byte| is_control(**byte)).count() as u64;
    let looks_plain = head_controls == 0 && survey.stray == 0;
    if let Some(format) = magic::format_of(&survey.head, looks_plain) {
        return Err(NotText::Binary(format!("it begins like {format}")));
    }
    let plain = survey.stray == 0;
    let too_many = too_many_controls(head_controls, survey.head.len() as u64, plain);
    if too_many && by_nuls(survey).is_none() {
        return Err(NotText::Binary(what_bytes(survey)));
    }
    Ok(())
}

fn too_many_controls(controls: u64, length: u64, is_utf8: bool) -> bool {
    let per_control = if is_utf8 { TEXT_PER_CONTROL } else { LEGACY_PER_CONTROL };
    controls > (length / per_control).max(1)
}

/// What was seen, for a person.
fn what_bytes(survey: &Survey) -> String {
    let at = survey.first_control.unwrap_or(0);
    let byte = survey.head.get(at as usize).copied().unwrap_or(0);
    let share = (survey.controls * 100).div_ceil(survey.length.max(1));
    format!("byte {at} is 0x{byte:02x}, and {share} % of its bytes are such control bytes")
}

/// UTF-32 or UTF-16, where NULs are where they have them, often enough, and almost nowhere else.
fn by_nuls(survey: &Survey) -> Option<Encoding> {
    let nuls = survey.nuls;
    let (letters, units) = (survey.length / 4, survey.length / 2);
    if survey.length.is_multiple_of(4) && letters >= 2 {
        let is_high = |highest: usize, next: usize| nuls[highest] == letters && nuls[next] >= letters - letters / 8;
        let is_low = |lowest: usize| nuls[lowest] <= letters / 8;
        match () {
            () if is_high(3, 2) && is_low(0) => return Some(Encoding::Utf32Le),
            () if is_high(0, 1) && is_low(3) => return Some(Encoding::Utf32Be),
            () => {}
        }
    }
    let (even, odd) = (nuls[0] + nuls[2], nuls[1] + nuls[3]);
    let (many, few, parity, encoding) =
        if odd >= even { (odd, even, 1, Encoding::Utf16Le) } else { (even, odd, 0, Encoding::Utf16Be) };
    // The high bytes of most alphabets are below the space. Ideographs have others, which are not those of UTF-8 then,
    // and NULs only in spaces, digits and line ends.
    let enough = if survey.stray == 0 { survey.lows[parity] >= units / 4 * 3 } else { many >= units / 50 };
    (survey.length.is_multiple_of(2) && many >= 2 && enough && few <= many / 8).then_some(encoding)
}

/// The encoding of a text that is not Unicode.
fn legacy(blocks: &mut dyn Blocks, survey: &Survey) -> io::Result<Result<(Encoding, usize), NotText>> {
    if let Some(declared) = declared(&survey.head) {
        let reading = Reading::of(blocks, Encoding::Legacy(declared))?;
        if reading.is_text(0) {
            return Ok(Ok((Encoding::Legacy(declared), 0)));
        }
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    blocks.each_block(&mut |block| _ = detector.feed(block, false))?;
    detector.feed(b"", true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    let guess = if guess == GBK { GB18030 } else { guess };
    for guess in [guess, WINDOWS_1252] {
        if Reading::of(blocks, Encoding::Legacy(guess))?.is_text(0) {
            return Ok(Ok((Encoding::Legacy(guess), 0)));
        }
    }
    Ok(Err(NotText::UnknownEncoding))
}

/// What a file says of itself: `# -*- coding: euc-jp -*-`, `<?xml encoding="...">`, `@charset "..."`, a vim line.
fn declared(head: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let head = &head[..head.len().min(DECLARATION_BYTES)];
    let lower = head.to_ascii_lowercase();
    for word in [&b"coding"[..], b"charset"] {
        let mut from = 0;
        while let Some(at) = lower[from..].windows(word.len()).position(|window| window == word) {
            from += at + word.len();
            let rest = lower[from..].trim_ascii_start();
            let rest = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"=")).unwrap_or(rest).trim_ascii_start();
            let rest = rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest);
            let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
            let label = &rest[..rest.iter().position(|byte| !is_label(byte)).unwrap_or(rest.len())];
            let found = encoding_rs::Encoding::for_label(label);
            if let Some(found) = found.filter(|found| found.is_ascii_compatible() && *found != encoding_rs::UTF_8) {
                return Some(if found == GBK { GB18030 } else { found });
            }
        }
    }
    None
}

/// What a text looks like once it is decoded.
#[derive(Default)]
struct Reading {
    characters: u64,
    /// Letters, digits, spaces, ASCII and usual signs.
    readable: u64,
    /// Control characters that text does not have, noncharacters, and characters of private use.
    foreign: u64,
    /// Bytes that stand for nothing.
    errors: u64,
    spaces: u64,
    /// Kana and ideographs.
    japanese: u64,
}

impl Reading {
    fn of(blocks: &mut dyn Blocks, encoding: Encoding) -> io::Result<Reading> {
        Self::of_marked(blocks, encoding, 0)
    }

    fn of_marked(blocks: &mut dyn Blocks, encoding: Encoding, mark: usize) -> io::Result<Reading> {
        let mut reading = Reading::default();
        let errors = decode(blocks, encoding, mark, &mut |text| text.chars().for_each(|char| reading.read(char)))?;
        reading.errors = errors;
        Ok(reading)
    }

    fn read(&mut self, char: char) {
        self.characters += 1;
        if char.is_whitespace() {
            self.spaces += 1;
        }
        match char {
            '\u{7}'..='\u{d}' | '\u{1b}' | ' '..='~' => self.readable += 1,
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => self.foreign += 1,
            '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}'..='\u{ffff}' => self.foreign += 1,
            '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}' => {
                self.japanese += 1;
                self.readable += 1;
            }
            // Accents and vowels of their own, which are no letters.
            '\u{300}'..='\u{36f}' | '\u{590}'..='\u{1cff}' => self.readable += 1,
            // Signs of Latin-1, general and CJK punctuation, arrows, mathematics, boxes, wide forms.
            '\u{a0}'..='\u{bf}' | '\u{2000}'..='\u{2bff}' | '\u{3000}'..='\u{303f}' | '\u{fe30}'..='\u{ffee}' => {
                self.readable += 1;
            }
            _ if char.is_alphanumeric() || char.is_whitespace() => self.readable += 1,
            _ => {}
        }
    }

    /// Whether it reads like text, with so many errors at most.
    fn is_text(&self, errors: u64) -> bool {
        self.errors <= errors
            && self.foreign <= (self.characters / LEGACY_PER_CONTROL).max(1)
            && self.readable * 100 >= self.characters * READABLE_PERCENT
            && (self.characters < LONGEST_WORD || self.spaces > 0)
    }

    fn is_japanese(&self) -> bool {
        self.is_text(0) && self.japanese > 0
    }
}
