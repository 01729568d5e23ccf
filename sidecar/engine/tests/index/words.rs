//! Words of every script and names of every language, through the full-text index and the rank.

use offheap_engine::disk::Tree;
use offheap_engine::kernel;
use offheap_engine::rank::Weights;
use offheap_engine::search::{Query, search};
use offheap_engine::store::{FileRecord, Filter, Fit, NewChunk, Store};

/// A project of one chunk for each file: path, text, names that it defines.
struct Project {
    _dir: tempfile::TempDir,
    store: Store,
}

impl Project {
    fn new(files: &[(&str, &str, &[&str])]) -> Project {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        for (n, (rel, text, symbols)) in files.iter().enumerate() {
            let record = FileRecord { hash: [n as u8 + 1; 32], n_chunks: 1, ..FileRecord::UNKNOWN };
            let chunk = NewChunk {
                bytes: 0..text.len() as u64,
                first_line: 1,
                last_line: 1,
                languages: Vec::new(),
                scope: "",
                symbols: symbols.iter().map(|name| (*name, "function", 1)).collect(),
                text,
                key: [n as u8 + 1; 32],
            };
            store.put_file(rel, "code", record, &[chunk]).unwrap();
        }
        store.commit().unwrap();
        Project { _dir: dir, store }
    }

    /// The paths that a query finds in mode text, best first.
    fn text(&self, query: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let query = Query {
            text: query,
            use_text: true,
            vector: None,
            filter: Filter::default(),
            limit: 10,
            explain: false,
            weights: Weights::default(),
        };
        let tree = Tree::open(dir.path()).unwrap();
        let hits = search(&self.store.snapshot(), &tree, &query, kernel::choose(None).unwrap()).unwrap();
        hits.into_iter().map(|hit| hit.chunk.rel).collect()
    }

    /// The names that a search for a symbol finds, best first, with their fits.
    fn symbols(&self, name: &str) -> Vec<(String, Fit)> {
        let (hits, _) = self.store.snapshot().search_symbols(name, &Filter::default(), 20).unwrap();
        hits.into_iter().map(|hit| (hit.symbol.name, hit.fit)).collect()
    }
}

/// Something else in every project, so that no word is in all chunks.
const OTHERS: [(&str, &str, &[&str]); 4] = [
    ("other/a.rs", "fn open_socket(address: &str) -> Socket { connect(address) }", &["open_socket"]),
    ("other/b.py", "def rotate(image, angle): return turn(image, angle)", &["rotate"]),
    ("other/c.go", "func Close(f *File) error { return f.Flush() }", &["Close"]),
    ("other/d.md", "How to build, to test and to publish.", &[]),
];

#[test]
fn words_of_every_script_are_found_inside_texts() {
    let texts: [(&str, &str, &[&str]); 24] = [
        (
            "zh-name",
            "def 获取用户订单列表(用户): return []",
            &["订单", "用户订单", "订单列表", "获取用户订单列表", "单"],
        ),
        ("zh-comment", "// 如果库存不足则抛出异常，并写入日志", &["库存", "库存不足", "抛出异常", "日志", "志"]),
        ("ja-comment", "// 入力データを検証してから保存する", &["検証", "データ", "保存", "入力データ"]),
        ("ja-narrow", "// ﾌｧｲﾙﾒｲを変更", &["ファイル", "ﾌｧｲﾙ", "変更"]),
        ("ja-kana", "func ログイン画面をひらく() {}", &["ログイン", "画面", "ひらく"]),
        ("ko-comment", "# 장바구니에서 쿠폰을 적용합니다", &["쿠폰", "장바구니", "적용"]),
        ("ko-name", "val 배송비계산기 = 1", &["배송비", "계산기"]),
        ("th", "// ตรวจสอบการสั่งซื้อสินค้าก่อนชำระเงิน", &["สั่งซื้อ", "สินค้า", "ชำระเงิน"]),
        ("lo", "// ກວດສອບລາຍການສິນຄ້າ", &["ສິນຄ້າ", "ລາຍການ"]),
        ("km", "// ពិនិត្យការបញ្ជាទិញទំនិញ", &["ទំនិញ", "បញ្ជាទិញ"]),
        ("my", "// အသုံးပြုသူ၏အမှာစာကိုစစ်ဆေးသည်", &["အမှာစာ", "အသုံးပြုသူ"]),
        ("bo", "// བཀའ་ཡིག་གསར་པ་བཟོ་བ།", &["ཡིག", "བཀའ་ཡིག"]),
        ("mixed", "class user订单Service extends 基础Service {}", &["订单service", "基础", "user订单Service"]),
        (
            "fr",
            "// un résumé des paramètres à vérifier",
            &["résumé", "re\u{301}sume\u{301}", "resume", "RÉSUMÉ", "parametres"],
        ),
        ("fr-nfd", "// la re\u{301}ponse du the\u{301}a\u{302}tre", &["réponse", "théâtre", "theatre", "reponse"]),
        ("de", "// die Überprüfung der Straße", &["überprüfung", "uberprufung", "strasse", "STRASSE", "straße"]),
        ("pl", "// żółta łódź płynie", &["zolta", "łódź", "lodz"]),
        ("tr", "// IŞIK hızı ölçülür", &["ışık", "hizi", "olculur"]),
        ("vi", "// kiểm tra đơn đặt hàng", &["kiểm", "đặt hàng", "dat hang"]),
        ("el", "// η ΠΑΡΑΓΓΕΛΊΑ του πελάτης", &["παραγγελία", "παραγγελια", "ΠΕΛΆΤΗΣ", "πελατης"]),
        ("ru", "// счётчик объём заявок", &["счётчик", "счетчик", "объем", "ЗАЯВОК"]),
        ("ar", "// مُسْتَخْدِم وطلبـــات", &["مستخدم", "مُسْتَخْدِم", "وطلبات"]),
        ("he", "// שָׁלוֹם הזמנה", &["שלום", "שָׁלוֹם"]),
        ("hi", "// उपयोगकर्ता की ज़रूरी सूची", &["उपयोगकर्ता", "ज़रूरी", "जरूरी", "सूची"]),
    ];
    let names: Vec<String> = texts.iter().map(|(name, ..)| format!("src/{name}.txt")).collect();
    let mut files: Vec<(&str, &str, &[&str])> = OTHERS.to_vec();
    files.extend(texts.iter().zip(&names).map(|((_, text, _), rel)| (rel.as_str(), *text, &[] as &[&str])));
    let project = Project::new(&files);
    for ((_, _, words), rel) in texts.iter().zip(&names) {
        for word in *words {
            // Another text may have the word as well, standing alone.
            let found = project.text(word);
            assert!(found.iter().take(2).any(|found| found == rel), "{word}: {found:?}");
        }
    }
    for absent in ["订购", "検査", "할머니", "สินสอด", "résumons", "pruf", "🚀", "\u{301}", "\u{200d}"]
    {
        let found = project.text(absent);
        assert!(found.is_empty() || absent.chars().count() > 2, "{absent}: {found:?}");
    }
}

#[test]
fn the_exact_word_and_the_whole_run_rank_first() {
    let project = Project::new(&[
        OTHERS[0],
        OTHERS[1],
        ("a.txt", "die Datei wird gepruft und dann gespeichert", &[]),
        ("b.txt", "die Datei wird geprüft und dann gespeichert", &[]),
        ("c.txt", "用户登录之后, 订单列表; 户订阅", &[]),
        ("d.txt", "这里处理用户订单, 以及别的", &[]),
        ("e.txt", "订单", &[]),
    ]);
    assert_eq!(project.text("geprüft")[..2], ["b.txt", "a.txt"]);
    assert_eq!(project.text("gepruft")[..2], ["a.txt", "b.txt"]);
    assert_eq!(project.text("ge\u{70}ru\u{308}ft")[..2], ["b.txt", "a.txt"]);
    assert_eq!(project.text("用户订单")[0], "d.txt");
    assert_eq!(project.text("订单")[0], "e.txt");
    assert_eq!(project.text("订单").len(), 3);
}

#[test]
fn names_of_files_are_words_too() {
    let project = Project::new(&[
        OTHERS[0],
        OTHERS[1],
        ("src/订单服务.ts", "export const limit = 10", &[]),
        ("src/re\u{301}sume\u{301}.md", "nothing here", &[]),
        ("src/z.txt", "订单 is mentioned, and a résumé", &[]),
    ]);
    assert_eq!(project.text("订单")[0], "src/订单服务.ts");
    assert_eq!(project.text("résumé.md")[0], "src/re\u{301}sume\u{301}.md");
}

#[test]
fn a_name_of_any_length_is_found_whole_and_by_its_parts() {
    let parts = ["returns", "the", "empty", "list", "when", "no", "orders", "were", "placed", "by", "customers"];
    let snake: String = parts.iter().cycle().take(34).copied().collect::<Vec<_>>().join("_");
    let letters = "x".repeat(65);
    let text = format!("def test_{snake}(): pass\n{letters} = 1");
    let name = format!("test_{snake}");
    assert!(name.len() > 190);
    let project = Project::new(&[OTHERS[0], OTHERS[1], OTHERS[2], ("t.py", &text, &[&name, &letters])]);
    for query in [&*name, &letters, "placed", "customers orders"] {
        assert_eq!(project.text(query).first().map(String::as_str), Some("t.py"), "{query}");
    }
    assert_eq!(project.symbols(&name)[0], (name.clone(), Fit::Exact));
    assert_eq!(project.symbols(&name.to_uppercase())[0].1, Fit::Case);
    assert_eq!(project.symbols(&name[..150])[0], (name.clone(), Fit::Prefix));
}

#[test]
fn symbols_of_other_scripts_fit_by_characters() {
    let project = Project::new(&[
        ("a.py", "获取用户订单列表", &["获取用户订单列表"]),
        ("b.java", "prüfePreis", &["prüfePreis"]),
        ("c.java", "prufePreis", &["prufePreis"]),
        ("d.cs", "Re\u{301}sume\u{301}Größe", &["Re\u{301}sume\u{301}Größe"]),
        ("e.kt", "ЗаказПользователя", &["ЗаказПользователя"]),
        ("f.rb", "ＡＢＣ", &["ＡＢＣ"]),
    ]);
    let first = |name: &str| project.symbols(name).into_iter().next();
    let found = |name: &str, fit: Fit| Some((name.to_owned(), fit));
    assert_eq!(first("获取用户订单列表"), found("获取用户订单列表", Fit::Exact));
    assert_eq!(first("获取用户"), found("获取用户订单列表", Fit::Prefix));
    assert_eq!(first("订单"), found("获取用户订单列表", Fit::Humps));
    assert_eq!(first("获取用户订单列衰"), found("获取用户订单列表", Fit::Fuzzy));
    assert_eq!(first("prüfePreis"), found("prüfePreis", Fit::Exact));
    assert_eq!(first("prufePreis"), found("prufePreis", Fit::Exact));
    assert_eq!(project.symbols("prüfePreis")[1], ("prufePreis".to_owned(), Fit::Case));
    assert_eq!(first("RésuméGröße"), found("Re\u{301}sume\u{301}Größe", Fit::Exact));
    assert_eq!(first("resumegrosse"), found("Re\u{301}sume\u{301}Größe", Fit::Case));
    assert_eq!(first("Résumé"), found("Re\u{301}sume\u{301}Größe", Fit::Prefix));
    assert_eq!(first("заказпользователя"), found("ЗаказПользователя", Fit::Case));
    assert_eq!(first("ЗП"), found("ЗаказПользователя", Fit::Humps));
    assert_eq!(first("ЗакасПользователя"), found("ЗаказПользователя", Fit::Fuzzy));
    assert_eq!(first("abc"), found("ＡＢＣ", Fit::Case));
}
