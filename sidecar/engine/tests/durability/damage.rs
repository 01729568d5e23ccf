//! A flipped bit, a missing end or a missing file, in each kind of file: found and named, or without effect on answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use offheap_engine::Error;
use offheap_engine::store::{FileRecord, Filter, NewChunk, Space, Store};

use crate::play::{Random, copy_dir, kernel};

const N_FILES: u8 = 12;

fn space() -> Space {
    Space { id: "damage-test".into(), dim: 8 }
}

fn text(file: u8) -> String {
    format!("fn word{file}() {{ common(shared{}) }}", file % 3)
}

fn vector(key: &[u8; 32]) -> Vec<f32> {
    (0..8).map(|i| f32::from(key[0]) * 3.0 + (i * i) as f32 - 7.0).collect()
}

/// An index run: compares the project with the file table, puts what differs, fills in vectors from cache or "model".
fn index_run(store: &mut Store, wanted: impl Iterator<Item = u8>) -> offheap_engine::Result<()> {
    let known = store.files()?;
    let mut present = BTreeSet::new();
    for file in wanted {
        let rel = format!("src/f{file}.rs");
        let record = FileRecord { hash: [file + 1; 32], n_chunks: 1, ..FileRecord::default() };
        if known.get(&rel).is_none_or(|old| old.hash != record.hash) {
            let (text, name) = (text(file), format!("word{file}"));
            let chunk = NewChunk {
                bytes: 0..text.len() as u64,
                first_line: 1,
                last_line: 1,
                languages: vec![],
                scope: "",
                symbols: vec![(&name, "function", 1)],
                text: &text,
                key: [file + 1; 32],
            };
            store.put_file(&rel, "rust", record, &[chunk])?;
        }
        present.insert(rel);
    }
    for gone in known.keys().filter(|rel| !present.contains(*rel)) {
        store.remove_file(gone)?;
    }
    store.commit()?;
    store.set_space(&space())?;
    for chunk in store.pending()?.into_iter().flat_map(|file| file.chunks) {
        let cached = store.cached(&space(), &[chunk.key])?.remove(0);
        store.put_vectors(&[(chunk.chunk_id, chunk.key, &cached.unwrap_or_else(|| vector(&chunk.key)))])?;
    }
    store.commit()?;
    Ok(())
}

/// All answers by path: ids differ between an index and its rebuilt one.
fn answers(store: &Store) -> String {
    let (snapshot, all) = (store.snapshot(), Filter::default());
    let mut out = format!("{:?}\n", snapshot.stats());
    let rel = |id: u64| snapshot.chunks(&[id]).unwrap().remove(0).unwrap().rel;
    for word in (0..N_FILES + 2).map(|file| format!("word{file}")).chain(["common".into(), "shared1".into()]) {
        let found = snapshot.search_text(&word, &all, 50).unwrap();
        let defined = snapshot.search_definitions(&word, &all, 50).unwrap();
        let mut found: Vec<String> = found.into_iter().map(|(id, _)| rel(id)).collect();
        found.sort();
        out += &format!("{word}: {found:?} {:?}\n", defined.into_iter().map(rel).collect::<Vec<_>>());
    }
    for file in 0..N_FILES + 2 {
        let mut found = snapshot.search_vectors(&vector(&[file + 1; 32]), &all, 50, kernel()).unwrap();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut found: Vec<String> = found.into_iter().map(|(id, cosine)| format!("{cosine:.3} {}", rel(id))).collect();
        found.sort();
        out += &format!("like {file}: {found:?}\n");
    }
    out
}

/// Several full-text segments, one with a deletion; two vector segments, one with a dead row; all embeddings cached.
fn sample(dir: &Path) -> String {
    let mut store = Store::open(dir).unwrap();
    index_run(&mut store, 0..N_FILES - 2).unwrap();
    index_run(&mut store, 0..N_FILES).unwrap();
    index_run(&mut store, 1..N_FILES).unwrap(); // one gone of ten, which is too few for a merge
    answers(&store)
}

/// Every file of the sample, by kind.
fn kinds(dir: &Path) -> BTreeMap<String, PathBuf> {
    let mut kinds = BTreeMap::new();
    for part in ["", "text", "vectors"] {
        for entry in std::fs::read_dir(dir.join(part)).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if !path.is_file() {
                continue;
            }
            let kind = match path.extension().and_then(|e| e.to_str()) {
                Some(extension) if part == "text" && name != "meta.json" => format!("text/*.{extension}"),
                Some("vec") => "vectors/*.vec".to_owned(),
                _ => Path::new(part).join(&name).display().to_string(),
            };
            kinds.insert(kind, path.strip_prefix(dir).unwrap().to_path_buf());
        }
    }
    kinds
}

enum Damage {
    Flip(usize),
    Truncate(usize),
    Missing,
}

/// `n_flips` random bits, on top of those at the ends.
fn damages(len: usize, n_flips: u64, random: &mut Random) -> Vec<Damage> {
    let mut all: Vec<Damage> = vec![Damage::Missing];
    let bits = len * 8;
    let ends = [0, 9, 18, 27].into_iter().flat_map(|bit| [Some(bit), bits.checked_sub(bit + 1)]).flatten();
    all.extend(ends.filter(|bit| *bit < bits).map(Damage::Flip));
    if len > 0 {
        all.extend((0..n_flips).map(|_| Damage::Flip(random.below(bits as u64) as usize)));
        all.extend([0, 1, len / 3, len / 2, len - 1].map(Damage::Truncate));
    }
    all
}

fn apply(path: &Path, damage: &Damage) {
    // Over a new file, not in place: a mapped file is never rewritten.
    let mut bytes = std::fs::read(path).unwrap();
    std::fs::remove_file(path).unwrap();
    match *damage {
        Damage::Missing => return,
        Damage::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
        Damage::Truncate(len) => bytes.truncate(len),
    }
    std::fs::write(path, bytes).unwrap();
}

/// How many of a kind's damages ended how.
#[derive(Debug, Default)]
struct Tally {
    found_by_open: u32,
    found_by_check: u32,
    no_effect: u32,
}

/// Opens and checks a damaged index, panics on a wrong answer, and says whether `open` or the check found something.
fn judge(dir: &Path, expected: &str, tally: &mut Tally) {
    let typed = |e: &Error| matches!(e, Error::IndexDamaged { .. } | Error::IndexFormat { .. });
    let beside = Store::open_read_only(dir);
    match Store::open(dir) {
        Err(e) => {
            assert!(typed(&e), "{e:?}");
            tally.found_by_open += 1;
        }
        Ok(store) => match store.check().run(&|| false) {
            Err(e) => {
                assert!(typed(&e), "{e:?}");
                tally.found_by_check += 1;
            }
            Ok(()) => {
                assert_eq!(answers(&store), expected);
                beside.unwrap_or_else(|e| panic!("the owner opened it: {e:?}"));
                tally.no_effect += 1;
            }
        },
    }
    if (tally.found_by_open + tally.found_by_check + tally.no_effect) % 5 != 1 {
        return; // what follows costs most of the time
    }
    // Whatever the damage was, the next run repairs it.
    let (mut store, _) = Store::open_or_rebuild(dir, true).unwrap();
    index_run(&mut store, 1..N_FILES).unwrap();
    assert_eq!(answers(&store), expected);
    store.verify().unwrap();
}

#[test]
fn every_kind_of_damage_is_found_or_has_no_effect() {
    damage_every_kind(3, 0xD1B5_4A32_D192_ED03);
}

/// `cargo test -p offheap-engine --test durability -- --ignored --nocapture many_damages`
#[test]
#[ignore = "minutes"]
fn many_damages() {
    damage_every_kind(300, 0x5851_F42D_4C95_7F2D);
    damage_cache(1_500, 0x1405_7B7E_F767_814F);
}

fn damage_every_kind(n_flips: u64, seed: u64) {
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let good = tempfile::tempdir().unwrap();
    let expected = sample(good.path());
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for (kind, rel) in kinds(good.path()) {
        for damage in damages(std::fs::metadata(good.path().join(&rel)).unwrap().len() as usize, n_flips, &mut random) {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(good.path(), dir.path());
            apply(&dir.path().join(&rel), &damage);
            judge(dir.path(), &expected, tallies.entry(kind.clone()).or_default());
        }
    }
    for (kind, tally) in &tallies {
        println!("{kind}: {tally:?}");
    }
    // In the files checked here every bit counts. A full-text file ends with the version that wrote it, which changes no answer;
    // the cache repairs itself; the previous manifest, the locks, the note of an orderly stop and the line's end after
    // the format number hold nothing.
    for kind in ["text/meta.json", "vectors/*.vec"] {
        assert_eq!(tallies[kind].no_effect, 0, "{kind}");
    }
    for kind in ["del", "fast", "fieldnorm", "idx", "pos", "store", "term"] {
        let tally = &tallies[&format!("text/*.{kind}")];
        assert!(tally.found_by_open + tally.found_by_check > tally.no_effect, "{kind}: {tally:?}");
    }
    let manifest = tallies.iter().filter(|(kind, _)| kind.starts_with("vectors/gen-"));
    let newest = manifest.max_by_key(|(kind, _)| (kind.len(), kind.to_string())).expect("a manifest").1;
    assert_eq!(newest.no_effect, 0);
}

/// The cache is read page by page without a check of the whole, so it gets more damage: no panic, no wrong vector, no file
/// forgotten.
#[test]
fn a_damaged_cache_never_gives_a_wrong_vector() {
    damage_cache(30, 0xA076_1D64_78BD_642F);
}

fn damage_cache(n_flips: u64, seed: u64) {
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let good = tempfile::tempdir().unwrap();
    let expected = sample(good.path());
    let cache = std::fs::read(good.path().join("cache.redb")).unwrap();
    // Half of the bits in bytes that are in use.
    let used: Vec<usize> = (0..cache.len()).filter(|&at| cache[at] != 0).collect();
    let (mut n_lost, mut n_renewed) = (0, 0);
    for i in 0..n_flips {
        let at = if i % 3 == 0 {
            random.below(cache.len() as u64) as usize
        } else {
            used[random.below(used.len() as u64) as usize]
        };
        let dir = tempfile::tempdir().unwrap();
        copy_dir(good.path(), dir.path());
        apply(&dir.path().join("cache.redb"), &Damage::Flip(at * 8 + random.below(8) as usize));
        let mut store = Store::open(dir.path()).unwrap_or_else(|e| panic!("byte {at}: {e:?}"));
        let keys: Vec<[u8; 32]> = (1..=N_FILES + 2).map(|n| [n; 32]).collect();
        for (key, row) in keys.iter().zip(store.cached(&space(), &keys).unwrap()) {
            let Some(row) = row else {
                n_lost += 1;
                continue;
            };
            let expected = vector(key);
            let norm = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(row.iter().zip(&expected).all(|(a, b)| (a - b / norm).abs() < 2e-3), "byte {at}");
        }
        index_run(&mut store, 1..N_FILES).unwrap_or_else(|e| panic!("byte {at}: {e:?}"));
        assert_eq!(answers(&store), expected, "byte {at}");
        drop(store);
        let mut store = Store::open(dir.path()).unwrap_or_else(|e| panic!("byte {at}: {e:?}"));
        index_run(&mut store, 1..N_FILES + 1).unwrap_or_else(|e| panic!("byte {at}: {e:?}"));
        store.verify().unwrap();
        n_renewed += u32::from(dir.path().join("cache.redb.damaged").exists());
    }
    println!("{n_flips} flips: {n_lost} vectors dropped, {n_renewed} caches begun again");
}
