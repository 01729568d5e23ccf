//! Words of code and of every script. The tokenizer that there was before other scripts had words is the oracle for ASCII.

use super::*;

/// The words of a text: whole ones, then parts, then pairs, then last characters.
fn rendered(text: &str) -> String {
    let mut words = [const { Vec::<String>::new() }; 4];
    code_tokens(text, |token| {
        let kind = match token {
            Token::Ident(_) => 0,
            Token::Sub(_) => 1,
            Token::Pair(_) => 2,
            Token::Last(_) => 3,
        };
        words[kind].push(token.word().to_owned());
    });
    let n = if words[2..].iter().all(Vec::is_empty) { 2 } else { 4 };
    words[..n].iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(" | ")
}

fn all_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    code_tokens(text, |token| words.push(token.word().to_owned()));
    words
}

#[test]
fn fillers_are_sorted() {
    assert!(FILLERS.is_sorted() && is_filler("where") && !is_filler("socket"));
}

#[test]
fn words_of_code() {
    for (input, expected) in [
        ("parseConfig(path)", "parseconfig path | parse config path"),
        ("parse_config", "parse_config | parse config"),
        ("HTTPServer2", "httpserver2 | http server serv 2"),
        ("getHTTPResponseCode", "gethttpresponsecode | get http response code"),
        ("utf8ToBase64", "utf8tobase64 | utf 8 to base 64"),
        ("__init__", "init | init"),
        ("_ __ ___", " | "),
        ("MAX_RETRY_COUNT", "max_retry_count | max retry count"),
        ("std::sync::Mutex", "std sync mutex | std sync mutex"),
        ("tokens, queries; parsing", "tokens queries parsing | tokens token queries query parsing pars"),
        ("class", "class | class clas"),
        ("using", "using | using"),
        ("x = a[i]", "x a i | x a i"),
        ("", " | "),
        ("?!.,;(){}", " | "),
        ("don't", "don t | don t"),
        ("$scope", "scope | scope"),
        ("foo—bar “baz”", "foo bar baz | foo bar baz"),
    ] {
        assert_eq!(rendered(input), expected, "{input}");
    }
}

#[test]
fn words_with_accents() {
    for (input, expected) in [
        ("Größe_ÄNDERN", "größe_ändern | größe grosse ändern andern"),
        ("prüft", "prüft | prüft pruft"),
        ("re\u{301}sume\u{301}", "résumé | résumé resume"),
        ("STRAẞE Straße", "straße straße | straße strasse straße strasse"),
        ("naïveParsers", "naïveparsers | naïve naive parsers pars"),
        ("IŞIK ışık İzmir", "işik ışık i\u{307}zmir | işik isik ışık isik i\u{307}zmir izmir"),
        ("ΟΔΟΣ οδός", "οδοσ οδόσ | οδοσ οδόσ οδοσ"),
        ("Ærø Łódź", "ærø łódź | ærø aero łódź lodz"),
        ("ёлка ЁЛКА", "ёлка ёлка | ёлка елка ёлка елка"),
        ("đặtHàng", "đặthàng | đặt dat hàng hang"),
        ("ＡＢＣ＿ｄｅｆ", "abc_def | abc def"),
        ("ﬁle", "file | file"),
        ("ΠαραγγελίαΧρήστη", "παραγγελίαχρήστη | παραγγελία παραγγελια χρήστη χρηστη"),
        ("ЗаказПользователя", "заказпользователя | заказ пользователя"),
        ("count٣ x²", "count٣ x2 | count ٣ 3 x 2"),
        ("co\u{ad}operate", "cooperate | cooperate"),
    ] {
        assert_eq!(rendered(input), expected, "{input}");
    }
}

#[test]
fn marks_are_parts_of_words() {
    for (input, expected) in [
        // Hindi: vowel signs, virama, a joiner, and a dot that people leave out.
        ("उपयोगकर्ता_सूची", "उपयोगकर्ता_सूची | उपयोगकर्ता सूची"),
        ("ज़रूरी", "ज\u{93c}रूरी | ज\u{93c}रूरी जरूरी"),
        ("क्\u{200d}ष", "क्ष | क्ष"),
        ("பயனர் பட்டியல்", "பயனர் பட்டியல் | பயனர் பட்டியல்"),
        ("বাংলা", "বাংলা | বাংলা"),
        // Arabic: vowels and a stretched word; Persian: a joiner that joins nothing.
        ("مُسْتَخْدِم مستخـــدم", "مُسْتَخْدِم مستخـــدم | مُسْتَخْدِم مستخدم مستخـــدم مستخدم"),
        ("می\u{200c}خواهم", "میخواهم | میخواهم ميخواهم"),
        ("שָׁלוֹם", "שָׁלוֹם | שָׁלוֹם שלום"),
        ("བཀའ་ཡིག", "བཀའ ཡིག | བཀའ ཡིག"),
        ("ሰላም ዓለም", "ሰላም ዓለም | ሰላም ዓለም"),
        ("მომხმარებელი", "მომხმარებელი | მომხმარებელი"),
        ("պատվեր", "պատվեր | պատվեր"),
    ] {
        assert_eq!(rendered(input), expected, "{input}");
    }
}

#[test]
fn scripts_without_spaces_give_neighbours() {
    for (input, expected) in [
        ("订单", "订单 |  | 订单 | 单"),
        ("单", "单 |  |  | 单"),
        ("获取用户订单", "获取用户订单 |  | 获取 取用 用户 户订 订单 | 单"),
        ("user订单Service", "user订单service | user service | 订单 | 单"),
        ("第3章", "第3章 | 3 |  | 第 章"),
        ("検証する", "検証する |  | 検証 証す する | る"),
        ("ﾃﾞｰﾀ", "データ |  | デー ータ | タ"),
        ("\u{304b}\u{3099}く", "がく |  | がく | く"),
        ("할인을", "할인을 |  | 할인 인을 | 을"),
        ("\u{1112}\u{1161}\u{11af}인", "할인 |  | 할인 | 인"),
        ("สั่งซื้อ", "สั่งซื้อ |  | สั่ง งซื้ ซื้อ | อ"),
        ("ສິນຄ້າ", "ສິນຄ້າ |  | ສິນ ນຄ້ ຄ້າ | າ"),
        ("មុខងារ", "មុខងារ |  | មុខ ខងា ងារ | រ"),
    ] {
        assert_eq!(rendered(input), expected, "{input}");
    }
}

/// A word inside a longer run gives only words that the run gives, so it is found there.
#[test]
fn a_word_is_found_inside_a_run() {
    for (run, word) in [
        ("获取用户订单列表", "订单"),
        ("获取用户订单列表", "用户订单"),
        ("入力データを検証する", "検証"),
        ("入力データを検証する", "データ"),
        ("할인율을계산합니다", "할인"),
        ("การสั่งซื้อสินค้า", "สั่งซื้อ"),
        ("ການສັ່ງຊື້ສິນຄ້າ", "ສິນຄ້າ"),
        ("ការបញ្ជាទិញទំនិញ", "ទំនិញ"),
        ("အသုံးပြုသူအမှာစာ", "အမှာစာ"),
        ("ᨠᩣᩁᨪᩨ᩶", "ᨪᩨ᩶"),
        ("ꦏꦺꦴꦢꦺ", "ꦢꦺ"),
    ] {
        let parts = |text: &str| {
            let mut parts = Vec::new();
            code_tokens(text, |token| {
                if let Token::Pair(pair) = token {
                    parts.push(pair.to_owned());
                }
            });
            parts
        };
        let (found, asked) = (all_words(run), parts(word));
        assert!(asked.iter().all(|pair| found.contains(pair)), "{run} {word}: {asked:?} {found:?}");
        let begins = |c: char| found.iter().any(|token| token.starts_with(c) && token != run);
        assert!(word.chars().filter(|c| !is_combining_mark(*c)).all(begins), "{run} {word}");
    }
}

#[test]
fn pictures_are_words_and_nothing_else_of_emoji() {
    assert_eq!(rendered("🚀 deploy ✓"), "🚀 deploy ✓ | deploy");
    assert_eq!(rendered("👩‍💻❤️👍🏽"), "👩 💻 ❤ 👍 | ");
    assert_eq!(rendered("a\u{200b}b \u{200d} \u{fe0f}"), "a b | a b");
    assert_eq!(all_words("ភាសា\u{200b}ខ្មែរ"), all_words("ភាសាខ្មែរ"));
}

#[test]
fn long_names_are_found_whole_and_by_their_parts() {
    let word = |n: usize| ["very", "long", "test", "name", "of", "an", "order"][n % 7];
    let snake: String = (0..44).map(word).collect::<Vec<_>>().join("_");
    assert!((200..=256).contains(&snake.len()), "{}", snake.len());
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let camel: String = (0..40).map(|n| capital(word(n))).collect();
    for name in [
        &*snake,
        &*camel,
        &"a".repeat(65),
        &"x_".repeat(40),
        "testIfItIsOkToAddANewUserIfHeIsNotInTheDbAndIdIsNotSetYetOrIsNull",
    ] {
        let words = all_words(name);
        assert_eq!(words[0], name.trim_matches('_').to_lowercase(), "{name}");
    }
    for part in ["very", "long", "order"] {
        assert!(all_words(&snake).iter().any(|word| word == part), "{part}");
        assert!(all_words(&camel).iter().any(|word| word == part), "{part}");
    }
    let german = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft";
    assert_eq!(all_words(german).len(), 3, "whole, its own part, without accents");
    assert_eq!(all_words(&"ж".repeat(200)).len(), 2);
    // Longer ones give their parts.
    let longer = "order_number_".repeat(50);
    let words = all_words(&longer);
    assert!(words.iter().all(|word| word.len() <= 8) && words.iter().any(|word| word == "number"), "{words:?}");
}

#[test]
fn data_fills_no_dictionary() {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = 14u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let (mut n_words, mut n_lines) = (0, 0);
    for n_kinds in [62, 32, 16] {
        for length in [76, 128, 512, 100_000] {
            for _ in 0..20 {
                let kinds = if n_kinds == 62 { &digits[..] } else { &digits[62 - 10 - (n_kinds - 10)..] };
                let line: String = (0..length).map(|_| char::from(kinds[next() % kinds.len()])).collect();
                n_words += all_words(&line).len();
                n_lines += 1;
            }
        }
    }
    assert!(n_words < n_lines, "{n_words} words of {n_lines} lines");
    assert_eq!(all_words(&"0123456789".repeat(20)), [""; 0]);
}

/// A word of any length takes time and memory in proportion, and gives a bounded number of words unless it is writing.
#[test]
fn a_word_without_an_end_is_bounded() {
    for (piece, limit) in
        [("a", 2), ("aB", 4_096), ("a_", 4_096), ("é", 3), ("a1", 0), ("éÉ", 4_096 * 3), ("_", 0), ("e\u{301}", 3)]
    {
        let word = piece.repeat((10 << 20) / piece.len());
        let (mut n, mut bytes) = (0, 0);
        code_tokens(&word, |token| {
            n += 1;
            bytes += token.word().len();
        });
        assert!(n <= limit && bytes <= 64 << 10, "{piece}: {n} words of {bytes} bytes");
    }
    // A letter with a megabyte of marks.
    let marks = format!("订{}单", "\u{301}".repeat(1 << 19));
    code_tokens(&marks, |token| assert!(token.word().len() < 100));
}

#[test]
fn forms_of_unicode_are_the_same_words() {
    use unicode_normalization::UnicodeNormalization;
    let texts = [
        "résumé naïve Größe Straße Ærø ｆｕｌｌ ＷＩＤＴＨ ﬁle x² ①",
        "đặtHàng người_dùng Tiếng Việt",
        "ΟΔΟΣ Παραγγελία ἀρχή ᾳ",
        "ёлка йод Київ їжак",
        "مُسْتَخْدِم أحمد إلى آخر ﷲ",
        "שָׁלוֹם עולם",
        "हिन्दी ज़रूरी क़लम বাংলা ড়",
        "获取用户订单列表 入力データを検証する ﾊﾝｶｸ がぎぐ 할인을 각 ㎏",
        "การสั่งซื้อ ทำ น้ำ ຄຳ",
        "ກຳ မြန်မာ ភាសាខ្មែរ བོད་སྐད་",
        "İstanbul ışık I i",
    ];
    for text in texts {
        let words = all_words(text);
        for other in
            [text.nfc().collect::<String>(), text.nfd().collect(), text.nfkc().collect(), text.nfkd().collect()]
        {
            assert_eq!(all_words(&other), words, "{text} {other}");
        }
    }
}

/// Any characters in any order: no panic, no empty word, no white space in a word, and a word gives itself again.
#[test]
fn any_text_gives_sound_words() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |n: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as u32 % n
    };
    let blocks = [
        0x20, 0x61, 0xc0, 0x300, 0x370, 0x400, 0x590, 0x600, 0x900, 0xe00, 0x1000, 0x1780, 0x2000, 0x3040, 0x4e00,
        0xac00, 0xff00, 0x1f300,
    ];
    for _ in 0..20_000 {
        let length = next(20);
        let text: String = (0..length)
            .filter_map(|_| {
                let base =
                    if next(8) == 0 { next(0x11_0000) } else { blocks[next(blocks.len() as u32) as usize] + next(96) };
                char::from_u32(base)
            })
            .collect();
        code_tokens(&text, |token| {
            let word = token.word();
            assert!(!word.is_empty() && !word.contains(char::is_whitespace), "{text:?} {token:?}");
        });
        let (mut idents, mut again) = (Vec::new(), Vec::new());
        code_tokens(&text, |token| {
            if let Token::Ident(word) = token {
                idents.push(word.to_owned());
            }
        });
        code_tokens(&idents.join(" "), |token| {
            if let Token::Ident(word) = token {
                again.push(word.to_owned());
            }
        });
        assert_eq!(again, idents, "{text:?}");
    }
}

#[test]
fn characters_are_classified() {
    for (c, unspaced) in [
        ('a', false),
        ('é', false),
        ('ก', true),
        ('๓', false),
        ('ა', false),
        ('ᄒ', true),
        ('〇', true),
        ('々', true),
        ('ー', true),
        ('・', false),
        ('ァ', true),
        ('漢', true),
        ('𠮷', true),
        ('한', true),
        ('क', false),
        ('བ', false),
    ] {
        assert_eq!(is_unspaced(c), unspaced, "{c}");
    }
    for (c, digit) in
        [('٣', Some('3')), ('९', Some('9')), ('๐', Some('0')), ('३', Some('3')), ('a', None), ('漢', None)]
    {
        assert_eq!(script::ascii_digit(c), digit, "{c}");
    }
    assert!(script::tables_are_sorted());
}

/// What the tokenizer did when only ASCII had words, for words that it did not take for data.
mod before {
    pub fn words(text: &str) -> Vec<(bool, String)> {
        let mut words = Vec::new();
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if word.is_empty() || word.len() > 64 || word.bytes().all(|b| b == b'_') {
                continue;
            }
            words.push((true, word.trim_matches('_').to_ascii_lowercase()));
            let mut rest = word;
            loop {
                rest = rest.trim_start_matches('_');
                if rest.is_empty() {
                    break;
                }
                let (part, after) = rest.split_at(part_end(rest));
                rest = after;
                let lower = part.to_ascii_lowercase();
                words.push((false, lower.clone()));
                words.extend(stem(lower).map(|stem| (false, stem)));
            }
        }
        words
    }

    fn part_end(word: &str) -> usize {
        let mut chars = word.char_indices().peekable();
        let Some((_, mut before)) = chars.next() else { return 0 };
        while let Some((at, c)) = chars.next() {
            let next_is_lower = chars.peek().is_some_and(|(_, next)| next.is_lowercase());
            let boundary = c == '_'
                || before.is_numeric() != c.is_numeric()
                || (before.is_lowercase() && c.is_uppercase())
                || (before.is_uppercase() && c.is_uppercase() && next_is_lower);
            if boundary {
                return at;
            }
            before = c;
        }
        word.len()
    }

    fn stem(mut word: String) -> Option<String> {
        let suffixes = ["tion", "ity", "ing", "ness", "ment", "ies", "ers", "ed", "er", "es", "s"];
        if word.len() < 5 {
            return None;
        }
        let suffix = suffixes.iter().find(|suffix| word.ends_with(**suffix))?;
        let kept = word.len() - suffix.len();
        if kept < 3 {
            return None;
        }
        word.truncate(kept);
        if *suffix == "ies" {
            word.push('y');
        }
        Some(word)
    }
}

/// Ranking of ASCII code rests on its words: they must stay what they were, byte for byte.
#[test]
fn words_of_ascii_are_what_they_were() {
    let now = |text: &str| {
        let mut words = Vec::new();
        code_tokens(text, |token| match token {
            Token::Ident(word) => words.push((true, word.to_owned())),
            Token::Sub(word) => words.push((false, word.to_owned())),
            Token::Pair(_) | Token::Last(_) => panic!("{token:?} of ASCII"),
        });
        words
    };
    let has_long_word =
        |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word.len() > 64);
    let n_words = std::cell::Cell::new(0);
    let check = |line: &str| {
        if line.is_ascii() && !has_long_word(line) {
            let words = now(line);
            assert_eq!(words, before::words(line), "{line:?}");
            n_words.set(n_words.get() + words.len());
        }
    };
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                text.lines().for_each(check);
            }
        }
    }
    assert!(n_words.get() > 100_000, "{} words of the sources", n_words.get());
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) % n
    };
    let kinds = [b"abcdes".as_slice(), b"ABCXYZ", b"0189", b"_", b" .-$\n\0\x7f", b"ing", b"tion", b"ies"];
    for _ in 0..20_000 {
        let mut line = String::new();
        for _ in 0..next(60) {
            let kind = kinds[next(kinds.len() as u64) as usize];
            line.push(char::from(kind[next(kind.len() as u64) as usize]));
        }
        check(&line);
    }
}
