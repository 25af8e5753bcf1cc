use fairground_allocator::Fairground;
#[global_allocator]
static G: Fairground = Fairground;
use std::collections::HashMap;
#[test]
fn many_sizes() {
    let mut live: Vec<(Vec<u8>, u8)> = Vec::new();
    let mut x = 88172645463325252u64;
    let mut next = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    for i in 0..300000u64 {
        let r = next();
        let n = match r % 100 {
            0..=79 => (r >> 8) % 600,
            80..=94 => (r >> 8) % 20000,
            95..=98 => (r >> 8) % 300000,
            _ => (r >> 8) % (6 << 20),
        } as usize;
        if live.len() > 2000 || (r >> 40) & 1 == 0 && !live.is_empty() {
            let k = (r >> 20) as usize % live.len();
            let (v, b) = live.swap_remove(k);
            assert!(v.iter().step_by(97).all(|&c| c == b));
        }
        if n < (1 << 20) || i % 50 == 0 {
            live.push((vec![i as u8; n], i as u8));
        }
    }
    let mut m: HashMap<String, Vec<u64>> = HashMap::new();
    for i in 0..200000u64 {
        m.entry(format!("k{}", next() % 5000)).or_default().push(i);
    }
    assert_eq!(m.values().map(|v| v.len()).sum::<usize>(), 200000);
}
#[test]
fn threads() {
    for _ in 0..20 {
        let h: Vec<_> = (0..8)
            .map(|t| {
                std::thread::spawn(move || {
                    let mut v = vec![];
                    for i in 0..20000usize {
                        v.push(vec![t as u8; i % 700]);
                        if i % 3 == 0 {
                            v.swap_remove(i % v.len());
                        }
                    }
                    v
                })
            })
            .collect();
        for (t, j) in h.into_iter().enumerate() {
            for b in j.join().unwrap() {
                assert!(b.iter().all(|&c| c == t as u8));
            }
        }
    }
}
