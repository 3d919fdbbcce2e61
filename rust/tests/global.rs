//! A program that uses hakmem as its global allocator: collections, threads, alignments, and the selected variant.
use hakmem::Hakmem;
use std::alloc::{alloc, alloc_zeroed, dealloc, realloc, Layout};
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: Hakmem = Hakmem;

#[test]
fn variant_is_the_feature() {
    assert_eq!(hakmem::variant(), if cfg!(feature = "hardened") { "hardened" } else { "speed" });
    assert_eq!(hakmem::version(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn collections_and_threads() {
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            std::thread::spawn(move || {
                let mut map = BTreeMap::new();
                for i in 0..20000u64 {
                    map.insert(i * 7 + seed, format!("{i}"));
                }
                (0..20000u64).all(|i| map[&(i * 7 + seed)] == format!("{i}"))
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap());
    }
}

#[test]
fn every_alignment() {
    for shift in 0..17 {
        let layout = Layout::from_size_align(1000, 1 << shift).unwrap();
        unsafe {
            let obj = alloc(layout);
            assert_eq!(obj as usize % layout.align(), 0);
            obj.write_bytes(7, 1000);
            let grown = realloc(obj, layout, 5000);
            assert_eq!(grown as usize % layout.align(), 0);
            assert!((0..1000).all(|i| *grown.add(i) == 7));
            dealloc(grown, Layout::from_size_align(5000, layout.align()).unwrap());
            let zeroed = alloc_zeroed(layout);
            assert!((0..1000).all(|i| *zeroed.add(i) == 0));
            assert!(hakmem::usable_size(zeroed) >= 1000);
            dealloc(zeroed, layout);
        }
    }
}

#[test]
fn objects_are_its_own() {
    let mut text = vec![0u8; 1 << 16];
    let kept: Vec<Box<[u8; 300]>> = (0..1000).map(|_| Box::new([1; 300])).collect();
    let length = hakmem::stats_json(&mut text);
    let said = std::str::from_utf8(&text[..length]).unwrap();
    assert!(said.starts_with("{\"hakmem\":\"stats\""), "{said}");
    let count = said.split("\"small\":{\"count\":").nth(1).unwrap().split(',').next().unwrap();
    assert!(count.parse::<usize>().unwrap() >= kept.len());
    hakmem::trim(0);
}
