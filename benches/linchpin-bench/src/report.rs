//! Results as Markdown tables that also read well as plain text. Pure: numbers in, text out.
//!
//! What a table shows of several rounds is the median of each figure. A ratio is the median of the
//! rounds' own ratios, with the least and the greatest of them beside it: two servers of one round
//! met the same mood of the machine, so their ratio is steadier than either.

use std::fmt::Write as _;

/// What is measured: one command, one way to send it, one number of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The command, such as `GET`.
    pub command: String,
    /// Requests that a connection sends at once.
    pub pipeline: u64,
    /// Connections.
    pub connections: usize,
    /// Keys drawn from.
    pub keys: u64,
}

/// One round of one server in one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Operations of the round.
    pub operations: u64,
    /// Operations per second.
    pub operations_per_s: f64,
    /// CPU time that the server used for each operation, kernel included, in nanoseconds.
    pub cpu_ns: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// Latency that 99 % stay below, in microseconds.
    pub p99_us: f64,
    /// Latency that 99.9 % stay below, in microseconds.
    pub p999_us: f64,
    /// Share of a core that the server used; above 1 with several workers.
    pub server_busy: f64,
    /// Share of a core that the generator used. Near 1, it is what limits the operations.
    pub generator_busy: f64,
}

/// All rounds of one server in one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerRounds {
    /// The server's name.
    pub server: String,
    /// Its rounds, in order; round i of every server of a cell belong together.
    pub rounds: Vec<Figures>,
}

/// All servers in one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellRounds {
    /// The cell.
    pub cell: Cell,
    /// The servers.
    pub servers: Vec<ServerRounds>,
}

/// Memory that a server takes for a key, beyond the bytes of key and value.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryRow {
    /// The server's name.
    pub server: String,
    /// Whether the keys have a time to live.
    pub has_ttl: bool,
    /// Bytes per key, one for each size that the table has.
    pub overhead_bytes: Vec<f64>,
}

/// Hit ratios with one trace and one size of the cache.
#[derive(Clone, Debug, PartialEq)]
pub struct RatioRow {
    /// The trace's name.
    pub trace: String,
    /// The size in hundredths of the distinct keys ...
    pub percent: usize,
    /// ... and in entries.
    pub entries: usize,
    /// By how many entries the mean number in a server was off, at most.
    pub off_max: f64,
    /// The hit ratio of true LRU.
    pub lru: f64,
    /// Those of the servers, in the order of the columns.
    pub ratios: Vec<f64>,
}

/// Memory of connections that do nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct IdleRow {
    /// The server's name.
    pub server: String,
    /// How many there were.
    pub connections: usize,
    /// Resident bytes for each.
    pub bytes_each: f64,
}

/// The table of loads; ratios are to the server named `reference`.
#[must_use]
pub fn load_table(cells: &[CellRounds], reference: &str) -> String {
    let header = [
        "command",
        "pipeline",
        "connections",
        "keys",
        "server",
        "ops/s",
        "CPU ns/op",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "ops ratio",
        "CPU ratio",
        "busy: server, generator",
    ];
    let mut rows = Vec::new();
    for CellRounds { cell, servers } in cells {
        let base = servers.iter().find(|server| server.server == reference);
        for ServerRounds { server, rounds } in servers {
            let median = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure));
            let ratio = |figure: fn(&Figures) -> f64| {
                base.map_or("-".to_owned(), |base| ratio(rounds, &base.rounds, figure))
            };
            rows.push(vec![
                cell.command.clone(),
                cell.pipeline.to_string(),
                cell.connections.to_string(),
                count(cell.keys),
                server.clone(),
                thousands(median(|f| f.operations_per_s)),
                thousands(median(|f| f.cpu_ns)),
                thousands(median(|f| f.p50_us)),
                thousands(median(|f| f.p99_us)),
                thousands(median(|f| f.p999_us)),
                ratio(|f| f.operations_per_s),
                ratio(|f| f.cpu_ns),
                format!(
                    "{:.0} %, {:.0} %",
                    100.0 * median(|f| f.server_busy),
                    100.0 * median(|f| f.generator_busy)
                ),
            ]);
        }
    }
    markdown(&header, 5, &rows)
}

/// The table of memory per key: `sizes` are the numbers of keys, of which the first `averaged` make
/// the mean.
#[must_use]
pub fn memory_table(sizes: &[u64], averaged: usize, rows: &[MemoryRow]) -> String {
    let mut header = vec!["server".to_owned(), "keys".to_owned()];
    header.extend(sizes.iter().map(|keys| count(*keys)));
    header.insert(2 + averaged, "mean".to_owned());
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let kind = if row.has_ttl { "with TTL" } else { "plain" };
            let mut cells = vec![row.server.clone(), kind.to_owned()];
            cells.extend(row.overhead_bytes.iter().map(|bytes| format!("{bytes:.1}")));
            let sum: f64 = row.overhead_bytes.iter().take(averaged).sum();
            cells.insert(2 + averaged, format!("{:.1}", sum / averaged as f64));
            cells
        })
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    markdown(&header, 2, &rows)
}

/// The table of idle connections.
#[must_use]
pub fn idle_table(rows: &[IdleRow]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.server.clone(),
                row.connections.to_string(),
                thousands(row.bytes_each),
            ]
        })
        .collect();
    markdown(&["server", "connections", "bytes each"], 1, &rows)
}

/// Hit ratios in percent, one column for each server and policy beside true LRU.
#[must_use]
pub fn ratio_table(columns: &[&str], rows: &[RatioRow]) -> String {
    let mut header = vec!["trace", "keys kept", "entries", "off by", "true LRU"];
    header.extend(columns);
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![
                row.trace.clone(),
                format!("{} %", row.percent),
                row.entries.to_string(),
                format!("{:.1}", row.off_max),
            ];
            let ratios = std::iter::once(&row.lru).chain(&row.ratios);
            cells.extend(ratios.map(|ratio| format!("{:.2}", 100.0 * ratio)));
            cells
        })
        .collect();
    markdown(&header, 1, &rows)
}

/// The median of the rounds' ratios to those of `base`, and between which they lie.
pub(crate) fn ratio<R: PartialEq>(rounds: &[R], base: &[R], figure: impl Fn(&R) -> f64) -> String {
    if rounds == base {
        return "1".to_owned();
    }
    let pairs = rounds.iter().zip(base);
    let ratios: Vec<f64> = pairs
        .map(|(own, base)| figure(own) / figure(base))
        .collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{:.2} ({least:.2}-{greatest:.2})",
        median(ratios.into_iter())
    )
}

/// The middle one of `values`, or the mean of the two in the middle; 0 without any.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => 0.0,
        sorted => f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]),
    }
}

/// `1234567.8` as `1,234,568`, and below 100 with one digit behind the point.
pub(crate) fn thousands(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1250000` as `1.25M`, `100000` as `100k`.
pub(crate) fn count(number: u64) -> String {
    match number {
        1_000_000.. => format!("{}M", number as f64 / 1e6),
        10_000.. => format!("{}k", number as f64 / 1e3),
        _ => number.to_string(),
    }
}

/// A Markdown table whose columns are as wide as their widest cell; the first `left` are aligned to
/// the left, the others to the right.
pub(crate) fn markdown(header: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.fold(header[column].len().max(3), usize::max)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        text.push('|');
        for (column, cell) in cells.enumerate() {
            let width = widths[column];
            let written = if column < left {
                write!(text, " {cell:<width$} |")
            } else {
                write!(text, " {cell:>width$} |")
            };
            written.expect("a String takes all");
        }
        text.push('\n');
    };
    line(&mut header.iter().copied());
    let rules: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| {
            let dashes = "-".repeat(width - 1);
            if column < left {
                format!("{dashes}-")
            } else {
                format!("{dashes}:")
            }
        })
        .collect();
    line(&mut rules.iter().map(String::as_str));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(server: &str, figures: &[(f64, f64)]) -> ServerRounds {
        let figures = figures.iter().map(|(operations_per_s, cpu_ns)| Figures {
            operations_per_s: *operations_per_s,
            operations: 1,
            cpu_ns: *cpu_ns,
            p50_us: 41.2,
            p99_us: 120.4,
            p999_us: 1_500.0,
            server_busy: 0.998,
            generator_busy: 0.4,
        });
        ServerRounds {
            server: server.to_owned(),
            rounds: figures.collect(),
        }
    }

    #[test]
    fn load_table_is_golden() {
        let cells = [CellRounds {
            cell: Cell {
                command: "GET".to_owned(),
                pipeline: 16,
                connections: 50,
                keys: 1_000_000,
            },
            servers: vec![
                rounds("linchpin", &[(1.5e6, 600.0), (2e6, 500.0), (1e6, 700.0)]),
                rounds(
                    "redis-server",
                    &[(1e6, 1_000.0), (1e6, 1_000.0), (1e6, 1_000.0)],
                ),
            ],
        }];
        let golden = include_str!("../tests/golden/load_table.txt");
        assert_eq!(load_table(&cells, "redis-server"), golden);
        assert!(!load_table(&cells, "absent").contains("(1.00"));
    }

    #[test]
    fn memory_table_is_golden() {
        let row = |has_ttl, overhead_bytes: &[f64]| MemoryRow {
            server: "linchpin".to_owned(),
            has_ttl,
            overhead_bytes: overhead_bytes.to_vec(),
        };
        let rows = [
            row(false, &[30.0, 40.06, 34.0]),
            row(true, &[1.0, 2.0, 3.0]),
        ];
        let golden = "\
| server   | keys     |   1M | 1.25M | mean |  10M |
| -------- | -------- | ---: | ----: | ---: | ---: |
| linchpin | plain    | 30.0 |  40.1 | 35.0 | 34.0 |
| linchpin | with TTL |  1.0 |   2.0 |  1.5 |  3.0 |
";
        assert_eq!(
            memory_table(&[1_000_000, 1_250_000, 10_000_000], 2, &rows),
            golden
        );
    }

    #[test]
    fn idle_table_is_golden() {
        let rows = [IdleRow {
            server: "redis-server".to_owned(),
            connections: 10_000,
            bytes_each: 22_345.6,
        }];
        let golden = "\
| server       | connections | bytes each |
| ------------ | ----------: | ---------: |
| redis-server |       10000 |     22,346 |
";
        assert_eq!(idle_table(&rows), golden);
    }

    #[test]
    fn ratio_table_is_golden() {
        let rows = [RatioRow {
            trace: "loop".to_owned(),
            percent: 25,
            entries: 252,
            off_max: 0.26,
            lru: 0.0,
            ratios: vec![0.0159, 0.5],
        }];
        let golden = "\
| trace | keys kept | entries | off by | true LRU | redis | linchpin |
| ----- | --------: | ------: | -----: | -------: | ----: | -------: |
| loop  |      25 % |     252 |    0.3 |     0.00 |  1.59 |    50.00 |
";
        assert_eq!(ratio_table(&["redis", "linchpin"], &rows), golden);
    }

    #[test]
    fn medians() {
        for (values, expected) in [(&[][..], 0.0), (&[3.0, 1.0, 2.0], 2.0), (&[4.0, 1.0], 2.5)] {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0.0, "0.0"),
            (99.94, "99.9"),
            (100.0, "100"),
            (1e6, "1,000,000"),
        ] {
            assert_eq!(thousands(number), expected);
        }
        for (number, expected) in [(9_999, "9999"), (100_000, "100k"), (1_250_000, "1.25M")] {
            assert_eq!(count(number), expected);
        }
    }
}
