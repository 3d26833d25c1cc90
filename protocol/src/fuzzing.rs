//! Entry points for fuzzers; not for use in programs.
//!
//! A fuzz target is one call of one of these functions. They panic when a promise of the crate is
//! broken, whatever the input. `cargo test` calls them with every file of the fuzzers' corpora.

use crate::request::{Limits, Parsed, Pipeline, ProtocolError, Request, RequestParser};

/// Bounds so low that small inputs meet them.
const LIMITS_TINY: Limits = Limits {
    args_max: 3,
    bulk_bytes_max: 20,
    inline_bytes_max: 40,
    authenticated: true,
};

/// What some bytes amount to: the requests with their lengths, and the error that ended them.
type Requests = (Vec<(usize, Request)>, Option<ProtocolError>);

/// Parses `input` as what a client sends, under several limits, in one piece and in small ones, one
/// request at a time and several ahead.
///
/// # Panics
///
/// When the pieces or the looking ahead change the outcome; when arguments lie outside what was
/// consumed, more was consumed than received, or an error does not repeat; when `bytes_needed` was
/// no lower bound; and when the parser holds memory out of proportion to the bytes received.
pub fn resp_request(input: &[u8]) {
    for limits in [LIMITS_TINY, Limits::unauthenticated(), Limits::default()] {
        let whole = read_requests(input, &limits, input.len());
        for piece_len in [1, 3, 16, input.len()] {
            assert_eq!(
                read_requests(input, &limits, piece_len),
                whole,
                "pieces of {piece_len}"
            );
            for (requests_max, run_max) in [(2, 2), (3, 1), (32, 32)] {
                assert_eq!(
                    read_ahead(input, &limits, piece_len, (requests_max, run_max)),
                    whole,
                    "pieces of {piece_len}, {requests_max} ahead, of which {run_max} run"
                );
            }
        }
    }
}

/// The same by looking `requests_max` ahead and taking no more than the first `run_max` of those.
fn read_ahead(
    input: &[u8],
    limits: &Limits,
    piece_len: usize,
    (requests_max, run_max): (usize, usize),
) -> Requests {
    let (mut parser, mut pipeline) = (RequestParser::new(), Pipeline::new());
    let mut requests = Vec::new();
    let mut start = 0;
    for received in (0..input.len()).step_by(piece_len.max(1)) {
        let received = input.len().min(received + piece_len);
        loop {
            let pending = &input[start..received];
            let parsed = parser.parse_ahead(pending, limits, requests_max, &mut pipeline);
            assert!(pipeline.len() <= requests_max, "more than were asked for");
            let ran = pipeline.len().min(run_max);
            let mut taken = 0;
            for index in 0..ran {
                let end = pipeline.end(index);
                assert!(taken < end && end <= pending.len(), "ends at {end}");
                let args = pipeline.args(pending, index);
                requests.push((end - taken, args.to_request()));
                taken = end;
            }
            start += taken;
            if ran < pipeline.len() {
                parser.reset();
                continue;
            }
            match parsed {
                Parsed::Full => assert!(ran > 0, "full of nothing"),
                Parsed::NeedsInput => break,
                Parsed::Malformed(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

/// Everything `input` amounts to, one request at a time.
fn read_requests(input: &[u8], limits: &Limits, piece_len: usize) -> Requests {
    let mut parser = RequestParser::new();
    let mut requests = Vec::new();
    let mut start = 0;
    for received in (0..input.len()).step_by(piece_len.max(1)) {
        let received = input.len().min(received + piece_len);
        loop {
            let pending = &input[start..received];
            let starved = pending.len() < parser.bytes_needed();
            let outcome = parser.parse(pending, limits);
            assert!(
                parser.retained_bytes() <= 64 + 16 * received,
                "memory beyond the input's"
            );
            assert!(
                !starved || outcome == Ok(None),
                "bytes_needed is no lower bound"
            );
            match outcome {
                Ok(None) => {
                    assert!(parser.bytes_needed() > pending.len(), "needs what it has");
                    assert!(
                        parser.args(pending).is_empty(),
                        "arguments of half a request"
                    );
                    break;
                }
                Ok(Some(consumed)) => {
                    assert!(
                        0 < consumed && consumed <= pending.len(),
                        "consumed {consumed}"
                    );
                    let args = parser.args(&pending[..consumed]);
                    assert!(args.lie_inside(), "a span lies outside the request");
                    assert!(
                        args.bytes_len() < consumed,
                        "more bytes than the request has"
                    );
                    requests.push((consumed, args.to_request()));
                    start += consumed;
                }
                Err(error) => {
                    assert_eq!(parser.parse(pending, limits), Err(error), "does not repeat");
                    return (requests, Some(error));
                }
            }
        }
    }
    (requests, None)
}
