//! The arguments of a request, borrowed and owned.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Index;

use crate::text::Escaped;

/// Where an argument lies in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Span {
    /// `None` when the end does not fit 32 bits.
    #[inline]
    pub(crate) fn new(at: usize, len: usize) -> Option<Self> {
        let (at, len) = (u32::try_from(at).ok()?, u32::try_from(len).ok()?);
        at.checked_add(len)?;
        Some(Self { at, len })
    }

    /// The same span in a buffer that begins `offset` bytes earlier.
    #[inline]
    pub(crate) fn moved_by(self, offset: u32) -> Self {
        Self {
            at: self.at.saturating_add(offset),
            ..self
        }
    }

    /// The bytes of the span; empty when it does not lie inside `buffer`.
    #[inline]
    fn of<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        let start = self.at as usize;
        buffer
            .get(start..start.saturating_add(self.len as usize))
            .unwrap_or_default()
    }
}

/// The arguments of one request, the command's name first. A view: copying it copies two slices.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    pub(crate) fn new(buffer: &'a [u8], spans: &'a [Span]) -> Self {
        Self { buffer, spans }
    }

    /// How many arguments there are, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the request was empty: a blank line or an array without elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`, counted from 0.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| span.of(self.buffer))
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> ArgsIter<'a> {
        ArgsIter {
            buffer: self.buffer,
            spans: self.spans.iter(),
        }
    }

    /// The arguments from number `count` on; none when there are not that many.
    #[inline]
    pub fn skip(&self, count: usize) -> Args<'a> {
        Args {
            buffer: self.buffer,
            spans: self.spans.get(count..).unwrap_or_default(),
        }
    }

    /// The sum of the arguments' lengths in bytes. O(arguments).
    pub fn bytes_len(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Whether every span lies inside the buffer, as the parser promises.
    pub(crate) fn lie_inside(&self) -> bool {
        let end = |span: &Span| u64::from(span.at) + u64::from(span.len);
        self.spans
            .iter()
            .all(|span| end(span) <= self.buffer.len() as u64)
    }

    /// An owned copy of these arguments. O(bytes).
    pub fn to_request(&self) -> Request {
        let mut request = RequestBuilder::default();
        request.buffer.reserve_exact(self.bytes_len());
        request.spans.reserve_exact(self.len());
        self.iter().for_each(|arg| request.push(arg));
        request.finish()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    /// # Panics
    ///
    /// When there is no such argument; [`Args::get`] does not.
    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.spans[index].of(self.buffer)
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a [u8];
    type IntoIter = ArgsIter<'a>;

    fn into_iter(self) -> ArgsIter<'a> {
        self.iter()
    }
}

impl PartialEq for Args<'_> {
    fn eq(&self, other: &Args<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Args<'_> {}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(Escaped::quoted))
            .finish()
    }
}

/// Iterates over [`Args`].
#[derive(Clone, Debug)]
pub struct ArgsIter<'a> {
    buffer: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for ArgsIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.spans.next().map(|span| span.of(self.buffer))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for ArgsIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.spans.next_back().map(|span| span.of(self.buffer))
    }
}

impl ExactSizeIterator for ArgsIter<'_> {}
impl FusedIterator for ArgsIter<'_> {}

/// An owned request, for when it must outlive the buffer it came in (a MULTI queue, a parked call).
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    buffer: Box<[u8]>,
    spans: Box<[Span]>,
}

impl Request {
    /// The sizes of its two heap allocations, in bytes.
    pub fn allocations(&self) -> [usize; 2] {
        [self.buffer.len(), size_of_val(&self.spans[..])]
    }

    /// A request of these arguments.
    ///
    /// # Panics
    ///
    /// When the arguments sum up to 4 GiB or more.
    pub fn from_args<I>(args: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut request = RequestBuilder::default();
        args.into_iter().for_each(|arg| request.push(arg.as_ref()));
        request.finish()
    }

    /// The arguments.
    #[inline]
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.buffer, &self.spans)
    }

    /// The memory it holds, in bytes, itself included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.buffer.len() + size_of_val::<[Span]>(&self.spans)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.args().fmt(f)
    }
}

#[derive(Default)]
struct RequestBuilder {
    buffer: Vec<u8>,
    spans: Vec<Span>,
}

impl RequestBuilder {
    fn push(&mut self, arg: &[u8]) {
        let span = Span::new(self.buffer.len(), arg.len());
        self.spans
            .push(span.expect("a request is smaller than 4 GiB"));
        self.buffer.extend_from_slice(arg);
    }

    fn finish(self) -> Request {
        Request {
            buffer: self.buffer.into_boxed_slice(),
            spans: self.spans.into_boxed_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_reads_as_a_slice_of_slices() {
        let request = Request::from_args(["SET", "", "value"]);
        let args = request.args();
        assert_eq!(args.len(), 3);
        assert_eq!(&args[2], b"value");
        assert_eq!(args.get(1), Some(&b""[..]));
        assert_eq!(args.get(3), None);
        assert_eq!(args.iter().next_back(), Some(&b"value"[..]));
        assert_eq!(args.iter().len(), 3);
        assert_eq!(args.skip(2).get(0), Some(&b"value"[..]));
        assert!(args.skip(3).is_empty() && args.skip(99).is_empty());
        assert_eq!(args.bytes_len(), 8);
        assert_eq!(args.skip(2).to_request(), Request::from_args(["value"]));
        assert_eq!(format!("{args:?}"), r#"["SET", "", "value"]"#);
    }

    #[test]
    fn a_span_ends_below_4_gib() {
        let max = u32::MAX as usize;
        assert!(Span::new(max, 0).is_some() && Span::new(1, max - 1).is_some());
        assert!(Span::new(2, max - 1).is_none() && Span::new(0, max + 1).is_none());
    }
}
