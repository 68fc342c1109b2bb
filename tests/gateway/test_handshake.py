"""The quick handshake says what the library says, or leaves the request to it."""

import base64

from hypothesis import given
from hypothesis import strategies as st
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from messenger.gateway.handshake import accepted, choose_subprotocol, upgrade_of, usual_upgrade

KEY = base64.b64encode(b"0123456789abcdef")
USUAL = [
    (b"host", b"peyk.example:8000"),
    (b"connection", b"keep-alive, Upgrade"),
    (b"upgrade", b"WebSocket"),
    (b"sec-websocket-key", KEY),
    (b"sec-websocket-version", b"13"),
]
FURTHER = [
    (b"origin", b"https://peyk.example"),
    (b"sec-websocket-protocol", b"other, centrifuge-json ,centrifuge-protobuf"),
    (b"sec-websocket-protocol", b"centrifuge-protobuf"),
    (b"sec-websocket-protocol", b""),
    (b"x-forwarded-for", b"192.0.2.1"),
    (b"x-forwarded-for", b"192.0.2.2, 192.0.2.3"),
    (b"user-agent", b"any"),
    (b"sec-websocket-extensions", b"permessage-deflate"),
    (b"sec-websocket-key", KEY),
    (b"sec-websocket-key", b"short"),
    (b"sec-websocket-version", b"8"),
    (b"upgrade", b"h2c"),
    (b"connection", b"close"),
    (b"origin", b"null"),
    (b"content-length", b"3"),
    (b"transfer-encoding", b"chunked"),
    (b"host", b"other"),
]
Headers = list[tuple[bytes, bytes]]


def by_the_library(method: bytes, url: bytes, headers: Headers) -> tuple[Request, Response] | None:
    """What websockets reads and answers; None: it cannot read the request."""
    library = ServerProtocol(select_subprotocol=choose_subprotocol)
    lines = [name + b": " + value for name, value in headers]
    library.receive_data(b"\r\n".join([method + b" " + url + b" HTTP/1.1", *lines, b"", b""]))
    requests = library.events_received()
    if not requests or not isinstance(requests[0], Request):
        return None
    request = requests[0]
    offered = request.headers.get_all("Sec-WebSocket-Protocol")
    if offered and not any(offered):
        del request.headers["Sec-WebSocket-Protocol"]  # as the connection does: old clients
    return request, library.accept(request)


@given(
    left_out=st.none() | st.sampled_from(USUAL),
    further=st.lists(st.sampled_from(FURTHER), max_size=4),
    method=st.sampled_from([b"GET", b"GET", b"GET", b"POST"]),
)
def test_given_any_request_when_it_is_usual_then_the_library_reads_and_answers_the_same(
    left_out: tuple[bytes, bytes] | None, further: Headers, method: bytes
) -> None:
    headers = [header for header in USUAL if header is not left_out] + further
    url = b"/connection/websocket?format=protobuf"

    asked = usual_upgrade(method.decode(), url, headers)

    library = by_the_library(method, url, headers)
    if asked is None:
        assert left_out is not None or further or method != b"GET"
        return
    assert library is not None
    request, response = library
    assert response.status_code == 101, response
    read = upgrade_of(request)
    assert (asked.path, asked.origin, asked.host) == (read.path, read.origin, read.host)
    assert asked.offered == read.offered
    assert asked.forwarded_for.replace(" ", "") == read.forwarded_for.replace(" ", "")
    told = dict(line.split(b": ", 1) for line in accepted(asked).split(b"\r\n")[1:] if line)
    for name in ("Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"):
        ours = told.get(name.encode())
        assert (None if ours is None else ours.decode()) == response.headers.get(name)


@given(st.sampled_from(range(len(USUAL))))
def test_given_a_usual_request_when_something_needed_is_missing_then_it_is_for_the_library(
    missing: int,
) -> None:
    assert usual_upgrade("GET", b"/", USUAL) is not None

    assert usual_upgrade("GET", b"/", USUAL[:missing] + USUAL[missing + 1 :]) is None
