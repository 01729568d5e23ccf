//! How common formats that are not text begin.

/// A format: where its bytes are, the bytes, and its name.
type Format = (usize, &'static [u8], &'static str);

/// Formats that are never text, even where a file has nothing but printable characters.
const ALWAYS: &[Format] = &[
    (0, b"%PDF-", "a PDF document"),
    (0, b"!<arch>\n", "an archive of object files"),
    (0, b"!<thin>\n", "an archive of object files"),
];

/// Formats whose beginning text might have too: they count only where the first bytes are not those of text.
const MAYBE: &[Format] = &[
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF87a", "a GIF image"),
    (0, b"GIF89a", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"BM", "a BMP image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"icns", "an icon"),
    (0, b"8BPS", "a Photoshop image"),
    (4, b"ftyp", "an MP4 video or HEIC image"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "a WAV sound"),
    (0, b"OggS", "an Ogg sound"),
    (0, b"fLaC", "a FLAC sound"),
    (0, b"ID3", "an MP3 sound"),
    (0, b"wOFF", "a font"),
    (0, b"wOF2", "a font"),
    (0, b"OTTO", "a font"),
    (0, b"\0\x01\0\0", "a font"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\xfd7zXZ\0", "xz data"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (0, b"\x04\x22\x4d\x18", "LZ4 data"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x7fELF", "an ELF program or library"),
    (0, b"MZ", "a Windows program or library"),
    (0, b"\xfe\xed\xfa\xce", "a Mach-O program or library"),
    (0, b"\xfe\xed\xfa\xcf", "a Mach-O program or library"),
    (0, b"\xce\xfa\xed\xfe", "a Mach-O program or library"),
    (0, b"\xcf\xfa\xed\xfe", "a Mach-O program or library"),
    (0, b"\xca\xfe\xba\xbe", "a Java class or Mach-O program"),
    (0, b"\0asm", "a WebAssembly module"),
    (0, b"dex\n", "Android byte code"),
    (0, b"\x1bLua", "Lua byte code"),
    (0, b"BC\xc0\xde", "LLVM bit code"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"PACK\0", "a git pack"),
    (0, b"DIRC\0", "a git index"),
    (0, b"\xde\x12\x04\x95", "a compiled message catalogue"),
    (0, b"\x95\x04\x12\xde", "a compiled message catalogue"),
];

/// The format that a file's first bytes are those of; `plain` says that they might be text.
pub fn format_of(head: &[u8], plain: bool) -> Option<&'static str> {
    let starts = |(at, bytes, _): &&Format| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes));
    let maybe = if plain { &[] } else { MAYBE };
    ALWAYS.iter().chain(maybe).find(starts).map(|(_, _, name)| *name)
}
