//! What of a stream a callback may read and write.

use crate::{
    abi::{Answer, BufferType, HeaderMapType, Headers, Status, VmIndex},
    envoy::{
        core::Core,
        stream::{Direction, Half, Stream},
    },
};

impl Core {
    /// The map as the guest may read it now.
    pub(super) fn readable(&self, vm: VmIndex, map: HeaderMapType) -> Option<&Headers> {
        match map {
            HeaderMapType::RequestHeaders => self.readable_headers(vm, Direction::Request),
            HeaderMapType::ResponseHeaders => self.readable_headers(vm, Direction::Response),
            HeaderMapType::RequestTrailers => self.readable_trailers(vm, Direction::Request),
            HeaderMapType::ResponseTrailers => self.readable_trailers(vm, Direction::Response),
            HeaderMapType::HttpCallResponseHeaders => {
                Some(&self.vms[vm].root()?.call_response.as_ref()?.headers)
            }
            HeaderMapType::HttpCallResponseTrailers => {
                let trailers = &self.vms[vm].root()?.call_response.as_ref()?.trailers;
                (!trailers.is_empty()).then_some(trailers)
            }
            HeaderMapType::GrpcReceiveInitialMetadata => self.vms[vm].root()?.grpc.initial.as_ref(),
            HeaderMapType::GrpcReceiveTrailingMetadata => self.vms[vm].root()?.grpc.trailing.as_ref(),
        }
    }

    pub(super) fn readable_headers(&self, vm: VmIndex, direction: Direction) -> Option<&Headers> {
        let (stream, at) = self.acting_filter(vm)?;
        stream.readable_headers(direction, at)
    }

    pub(super) fn readable_trailers(&self, vm: VmIndex, direction: Direction) -> Option<&Headers> {
        let (stream, at) = self.acting_filter(vm)?;
        stream.readable_trailers(direction, at)
    }

    /// The map as the guest may change it now.
    pub(super) fn writable(&mut self, vm: VmIndex, map: HeaderMapType) -> Answer<&mut Headers> {
        let (stream, at) = self.acting_filter_mut(vm).ok_or(Status::BadArgument)?;
        let headers = match map {
            HeaderMapType::RequestHeaders => stream.request.writable_headers(at),
            HeaderMapType::ResponseHeaders => stream.response.writable_headers(at),
            HeaderMapType::RequestTrailers => stream.request.writable_trailers(at),
            HeaderMapType::ResponseTrailers => stream.response.writable_trailers(at),
            _ => None,
        };
        headers.ok_or(Status::BadArgument)
    }

    pub(super) fn buffer_bytes(&self, vm: VmIndex, buffer: BufferType) -> Answer<&[u8]> {
        let root = self.vms[vm].root();
        match buffer {
            BufferType::VmConfiguration => Ok(&self.keys[self.vms[vm].key].vm_configuration),
            BufferType::PluginConfiguration => {
                let root = root.filter(|root| root.configuring).ok_or(Status::NotFound)?;
                Ok(&root.plugin.configuration)
            }
            BufferType::HttpCallResponseBody => {
                let response = root.and_then(|root| root.call_response.as_ref());
                response.map(|response| response.body.as_ref()).ok_or(Status::NotFound)
            }
            BufferType::HttpRequestBody => Ok(self.body(vm, Direction::Request)),
            BufferType::HttpResponseBody => Ok(self.body(vm, Direction::Response)),
            BufferType::GrpcReceiveBuffer => {
                Ok(root.map(|root| root.grpc.message.as_ref()).unwrap_or_default())
            }
            // These are there, and empty.
            BufferType::NetworkDownstreamData | BufferType::NetworkUpstreamData | BufferType::CallData => {
                Ok(&[])
            }
        }
    }

    /// A body that is out of reach reads as empty, as in Envoy.
    pub(super) fn body(&self, vm: VmIndex, direction: Direction) -> &[u8] {
        self.acting_filter(vm)
            .and_then(|(stream, at)| Some(stream.half(direction).stages.get(at)?.body()))
            .unwrap_or_default()
    }

    /// The stream that hostcalls of this VM act on now, and which of its filters asks.
    pub(in crate::envoy) fn acting_filter(&self, vm: VmIndex) -> Option<(&Stream, usize)> {
        let (stream, at) = self.vms[vm].acting_filter()?;
        Some((self.streams.get(&stream)?, at))
    }

    /// The same, to change it.
    pub(super) fn acting_filter_mut(&mut self, vm: VmIndex) -> Option<(&mut Stream, usize)> {
        let (stream, at) = self.vms[vm].acting_filter()?;
        Some((self.streams.get_mut(&stream)?, at))
    }
}

impl Stream {
    /// The headers as a filter may read them now.
    pub(in crate::envoy) fn readable_headers(&self, direction: Direction, at: usize) -> Option<&Headers> {
        let half = self.half(direction);
        let visible = half.stages.get(at)?.headers_visible || self.logging;
        (half.begun && visible).then_some(&half.headers)
    }

    /// The trailers as a filter may read them now; the access log has none of the request.
    pub(in crate::envoy) fn readable_trailers(&self, direction: Direction, at: usize) -> Option<&Headers> {
        let half = self.half(direction);
        let visible = match (self.logging, direction) {
            (true, direction) => direction == Direction::Response,
            (false, _) => half.stages.get(at)?.trailers_visible,
        };
        half.trailers.as_ref().filter(|_| visible)
    }
}

impl Half {
    pub(super) fn writable_headers(&mut self, at: usize) -> Option<&mut Headers> {
        let visible = self.begun && self.stages.get(at)?.headers_visible;
        visible.then_some(&mut self.headers)
    }

    /// Trailers can be added where there are none, while the filter is notified of the body's end.
    pub(super) fn writable_trailers(&mut self, at: usize) -> Option<&mut Headers> {
        let stage = self.stages.get_mut(at)?;
        if self.trailers.is_none() && stage.told_end && stage.current.is_some() {
            self.trailers = Some(Headers::new());
            stage.trailers_visible = true;
        }
        let visible = stage.trailers_visible;
        self.trailers.as_mut().filter(|_| visible)
    }
}

/// Source: Envoy `source/extensions/common/wasm/context.cc` `Buffer::copyFrom`: the front or the end, nothing between.
pub(super) fn replace(body: &mut Vec<u8>, start: usize, length: usize, value: &[u8]) -> Answer {
    match (start, length) {
        (0, length) => {
            body.splice(0..length.min(body.len()), value.iter().copied());
        }
        (start, _) if start > 0 && start >= body.len() => body.extend_from_slice(value),
        _ => return Err(Status::BadArgument),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_replaced_prepended_to_or_appended_to_and_nothing_else() {
        let changed = |start, length| {
            let mut body = b"abc".to_vec();
            replace(&mut body, start, length, b"X").map(|()| String::from_utf8(body).unwrap())
        };
        assert_eq!(changed(0, 0), Ok("Xabc".to_owned()));
        assert_eq!(changed(0, 3), Ok("X".to_owned()));
        assert_eq!(changed(0, usize::MAX), Ok("X".to_owned()));
        assert_eq!(changed(3, 0), Ok("abcX".to_owned()));
        assert_eq!(changed(9, 9), Ok("abcX".to_owned()));
        assert_eq!(changed(0, 2), Ok("Xc".to_owned()));
        assert_eq!(changed(1, 1), Err(Status::BadArgument));
    }
}
