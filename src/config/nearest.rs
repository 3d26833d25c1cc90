//! The known name a mistyped one was probably meant to be.

/// The candidate nearest to `word`, if any is near enough to be worth suggesting: at most a third
/// of the word's letters wrong, and at least one such slip allowed.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance_max = (word.len() / 3).max(1);
    candidates
        .map(|candidate| (distance(word.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters inserted, dropped, replaced or swapped with their neighbour to get from `a` to `b`
/// (Damerau-Levenshtein, each letter touched once), case ignored. O(a * b) time, O(b) memory.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let same = a[i].eq_ignore_ascii_case(&b[j]);
            let mut best = (above[j] + usize::from(!same))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            let swapped = i > 0
                && j > 0
                && a[i].eq_ignore_ascii_case(&b[j - 1])
                && a[i - 1].eq_ignore_ascii_case(&b[j]);
            if swapped {
                best = best.min(before[j - 1] + 1);
            }
            row[j + 1] = best;
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let check = |a: &str, b: &str, expect: usize| {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expect, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), expect, "{b} {a}");
        };
        check("", "", 0);
        check("", "abc", 3);
        check("port", "PORT", 0);
        check("prot", "port", 1);
        check("maxclient", "maxclients", 1);
        check("kitten", "sitting", 3);
    }

    #[test]
    fn suggestions() {
        let check = |word: &str, expect: Option<&str>| {
            let names = ["bind", "dir", "maxclients", "maxmemory", "port"];
            assert_eq!(nearest(word, names.into_iter()), expect, "{word}");
        };
        check("maxclient", Some("maxclients"));
        check("max-clients", Some("maxclients"));
        check("prot", Some("port"));
        check("Bnd", Some("bind"));
        check("frobnicate", None);
        check("", None);
    }
}
