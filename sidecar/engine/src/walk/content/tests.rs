//! Texts in many encodings come back as they were; what is no text says why.

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, GB18030, ISO_2022_JP, ISO_8859_2, KOI8_R, SHIFT_JIS, WINDOWS_1250, WINDOWS_1251,
    WINDOWS_1252, WINDOWS_1253,
};

use super::*;

/// A source file with comments in a language, and the encodings that its writers used.
const LANGUAGES: &[(&str, &[&encoding_rs::Encoding])] = &[
    (
        "// Größe der Fläche in Metern, für jede Tür\nlet größe = 3; // naïve Lösung, geändert für Übersee\n",
        &[WINDOWS_1252],
    ),
    (
        "# Vérifie le numéro de téléphone de l'élève, déjà donné à la préfecture\ndef vérifie(numéro): pass\n",
        &[WINDOWS_1252],
    ),
    (
        "// ユーザーの注文を取得する。注文がない場合は空のリストを返す。\nint getOrders(); // 検証済みの注文だけ\n",
        &[SHIFT_JIS, EUC_JP, ISO_2022_JP],
    ),
    ("// 获取用户订单列表，如果没有订单，就返回空列表。\nint getOrders(); // 只有经过验证的订单才会显示\n", &[GB18030]),
    (
        "// 取得使用者的訂單列表，如果沒有訂單，就傳回空的列表。\nint getOrders(); // 只有經過驗證的訂單才會顯示\n",
        &[BIG5],
    ),
    (
        "// 사용자의 주문 목록을 가져온다. 주문이 없으면 빈 목록을 돌려준다.\nint getOrders(); // 할인된 주문만\n",
        &[EUC_KR],
    ),
    (
        "// Получает список заказов пользователя; если заказов нет, возвращает пустой список.\nint заказы();\n",
        &[KOI8_R, WINDOWS_1251],
    ),
    ("// Zażółć gęślą jaźń, żeby sprawdzić źródła i łańcuchy znaków przed wysłaniem\nint źródło;\n", &[WINDOWS_1250]),
    ("// उपयोगकर्ता के सभी आदेश लौटाता है, या एक खाली सूची।\nint x;\n", &[]),
    ("// ส่งคืนรายการคำสั่งซื้อของผู้ใช้ หรือรายการว่าง\nint x;\n", &[]),
    ("// Επιστρέφει τη λίστα των παραγγελιών του χρήστη, ή μια κενή λίστα.\nint παραγγελίες();\n", &[WINDOWS_1253]),
];

fn read(bytes: &[u8]) -> Result<(String, &'static str), NotText> {
    let (encoding, mark) = detect(&mut &*bytes).unwrap()?;
    let mut text = String::new();
    assert_eq!(decode(&mut &*bytes, encoding, mark, &mut |piece| text.push_str(piece)).unwrap(), 0);
    Ok((text, encoding.name()))
}

/// Bytes in blocks of one length: what lies across two blocks must not be lost.
struct Cut<'a>(&'a [u8], usize);

impl Blocks for Cut<'_> {
    fn each_block(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.0.chunks(self.1).for_each(each);
        Ok(())
    }
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn utf32(text: &str, bytes: fn(u32) -> [u8; 4]) -> Vec<u8> {
    text.chars().flat_map(|char| bytes(char as u32)).collect()
}

/// Every text in every encoding, with each kind of line end, short and long.
#[test]
fn texts_come_back_from_every_encoding() {
    for (sample, legacy) in LANGUAGES {
        for (end, times) in [("\n", 1), ("\r\n", 1), ("\r", 1), ("\n", 300)] {
            let text = sample.repeat(times).replace('\n', end);
            let marked = |mark: &[u8], bytes: Vec<u8>| [mark.to_vec(), bytes].concat();
            let mut inputs = vec![
                ("UTF-8", text.clone().into_bytes()),
                ("UTF-8", marked(b"\xef\xbb\xbf", text.clone().into_bytes())),
                ("UTF-16LE", marked(b"\xff\xfe", utf16(&text, u16::to_le_bytes))),
                ("UTF-16BE", marked(b"\xfe\xff", utf16(&text, u16::to_be_bytes))),
                ("UTF-16LE", utf16(&text, u16::to_le_bytes)),
                ("UTF-16BE", utf16(&text, u16::to_be_bytes)),
                ("UTF-32LE", marked(b"\xff\xfe\0\0", utf32(&text, u32::to_le_bytes))),
                ("UTF-32LE", utf32(&text, u32::to_le_bytes)),
                ("UTF-32BE", utf32(&text, u32::to_be_bytes)),
                ("UTF-32BE", marked(b"\0\0\xfe\xff", utf32(&text, u32::to_be_bytes))),
            ];
            for encoding in *legacy {
                let (bytes, _, lossy) = encoding.encode(&text);
                assert!(!lossy, "{} has no letter of {text:?}", encoding.name());
                inputs.push((encoding.name(), bytes.into_owned()));
            }
            for (name, bytes) in inputs {
                let (found, found_name) = read(&bytes).unwrap_or_else(|why| panic!("{name} with {end:?}: {why:?}"));
                assert_eq!(found, text, "{name} with {end:?}, read as {found_name}");
                // Others have equal letters, such as KOI8-R and KOI8-U.
                assert!(found_name == name || !name.starts_with("UTF"), "{name} is called {found_name}");
                for block in if times == 1 { [1, 3] } else { [1_000, 4_096] } {
                    let (mut cut, mut again) = (Cut(&bytes, block), String::new());
                    let (encoding, mark) = detect(&mut cut).unwrap().unwrap();
                    decode(&mut cut, encoding, mark, &mut |piece| again.push_str(piece)).unwrap();
                    assert_eq!(again, text, "{name} in blocks of {block}");
                }
            }
        }
    }
}

/// A file says itself how it is encoded, where a few bytes say too little.
#[test]
fn declarations_count() {
    for (head, encoding) in [
        ("# -*- coding: euc-jp -*-\n# 注文\n", EUC_JP),
        ("<?xml version=\"1.0\" encoding=\"Shift_JIS\"?>\n<a>注文</a>\n", SHIFT_JIS),
        ("<meta charset=big5>訂單\n", BIG5),
        ("@charset \"koi8-r\";\n/* заказ */\n", KOI8_R),
        ("# vim: set fileencoding=gbk :\n# 订单\n", GB18030),
        ("# encoding: iso-8859-2\n# źle\n", ISO_8859_2),
    ] {
        let bytes = encoding.encode(head).0;
        assert_eq!(read(&bytes), Ok((head.to_owned(), encoding.name())));
    }
    // What is declared and is not so does not count.
    let wrong = b"# -*- coding: shift_jis -*-\n# caf\xe9 au lait\n";
    assert_eq!(read(wrong).unwrap().0, "# -*- coding: shift_jis -*-\n# café au lait\n");
}

#[test]
fn little_text_and_odd_bytes() {
    for (bytes, text) in [
        (&b""[..], ""),
        (b"\xef\xbb\xbf", ""),
        (b"\xff\xfe", ""),
        (b"caf\xe9", "café"),
        (b"one\0\n", "one\0\n"),
        (b"int a; /* \0 */ int b;\n", "int a; /* \0 */ int b;\n"),
        (b"\x1b[31mred\x1b[0m\x08\x0c\n", "\x1b[31mred\x1b[0m\x08\x0c\n"),
        (b"\xff\xfea\0\n\0", "a\n"),
        ("\u{feff}\u{feff}x".as_bytes(), "\u{feff}x"),
    ] {
        assert_eq!(read(bytes).map(|(text, _)| text).as_deref(), Ok(text), "{bytes:?}");
    }
    // A UTF-8 file with one byte that a colleague pasted from elsewhere stays UTF-8.
    let mixed = ["größer für über schön ".as_bytes(), b"caf\xe9\n"].concat();
    assert_eq!(read(&mixed), Ok(("größer für über schön café\n".to_owned(), "UTF-8")));
    // Half a surrogate pair and half a unit at the end cost one character, not the file.
    let torn = [&b"\xff\xfe"[..], &utf16(&"line of text\n".repeat(40), u16::to_le_bytes), b"\x00\xd8\n\0x"].concat();
    assert_eq!(detect(&mut torn.as_slice()).unwrap(), Ok((Encoding::Utf16Le, 2)));
}

#[test]
fn what_is_no_text_says_what_was_seen() {
    let mut random = vec![0u8; 3_000];
    let mut state = 1u32;
    for byte in &mut random {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let sound: Vec<u8> = (0..4_000).map(|i| (128.0 + 20.0 * f64::sin(f64::from(i) / 9.0)) as u8).collect();
    let numbers: Vec<u8> = (300..2_000u16).flat_map(u16::to_le_bytes).collect();
    let tar = [vec![b'a'; 257], b"ustar\0".to_vec(), vec![0; 249], b"plain text\n".repeat(300)].concat();
    let script_with_archive = [b"#!/bin/sh\nexit\n".repeat(600), random.clone()].concat();
    for (what, bytes) in [
        ("a PNG image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec()),
        ("a GIF image", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec()),
        ("a PDF document", b"%PDF-1.4\n1 0 obj\n<< >>\nendobj\n".to_vec()),
        ("a tar archive", tar),
        ("an SQLite database", [&b"SQLite format 3\0"[..], &b"table and text ".repeat(50)].concat()),
        ("control bytes", random.clone()),
        ("control bytes", vec![0; 9_000]),
        ("control bytes", numbers),
        ("control bytes", script_with_archive),
        ("", sound),
    ] {
        match read(&bytes) {
            Err(NotText::Binary(detail)) => assert!(!what.is_empty() && detail.contains(what), "{what}: {detail}"),
            Err(NotText::UnknownEncoding) => assert_eq!(what, ""),
            Ok((_, encoding)) => panic!("{what} was read as {encoding}"),
        }
    }
    // Text that begins like a format is text.
    for text in
        ["BM is a company\n", "MZ\n", "PK\n", "ID3 tags, explained\n", "RIFFs and WAVEs\n", "GIF89a\n", "wOFF\n"]
    {
        assert_eq!(read(text.as_bytes()), Ok((text.to_owned(), "UTF-8")));
    }
}

/// No input takes long or panics, whatever it is cut into.
#[test]
fn any_bytes_are_decided_alike_in_any_blocks() {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    for _ in 0..3_000 {
        let alphabet: Vec<u8> = (0..1 + next() % 6).map(|_| next() as u8).collect();
        let bytes: Vec<u8> = (0..next() % 40).map(|_| alphabet[next() as usize % alphabet.len()]).collect();
        let whole = detect(&mut bytes.as_slice()).unwrap();
        assert_eq!(detect(&mut Cut(&bytes, 1 + next() as usize % 5)).unwrap(), whole, "{bytes:?}");
        if let Ok((encoding, mark)) = whole {
            let (mut one, mut other) = (String::new(), String::new());
            decode(&mut bytes.as_slice(), encoding, mark, &mut |text| one.push_str(text)).unwrap();
            decode(&mut Cut(&bytes, 1), encoding, mark, &mut |text| other.push_str(text)).unwrap();
            assert_eq!(one, other, "{bytes:?} as {}", encoding.name());
            assert!(!one.contains(char::REPLACEMENT_CHARACTER) || mark > 0, "{bytes:?} as {}", encoding.name());
        }
    }
}
