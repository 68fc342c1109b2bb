"""A node that leaves: all SDKs come back by themselves."""

from contextlib import AsyncExitStack

from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from tests.conformance.sdk import Sdk
from tests.conformance.sdk_js import JavaScript
from tests.conformance.sdk_python import Python
from tests.support.platform import running


async def test_given_a_node_that_shuts_down_when_sdks_are_connected_then_they_will_reconnect(
    hub_settings: Settings, tokens: ConnectionTokens, node_packages: None
) -> None:
    async with AsyncExitStack() as stack:
        sdks: list[Sdk] = [Python(protobuf=protobuf) for protobuf in (False, True)]
        sdks += [await JavaScript.start(protobuf=protobuf) for protobuf in (False, True)]
        for sdk in sdks:
            stack.push_async_callback(sdk.close)
        async with running(hub_settings) as platform:
            for number, sdk in enumerate(sdks):
                await sdk.open(platform.ws_url, tokens.sign(f"u{number}", 3600))
                await sdk.connect()
                await sdk.events.sees("connected")
                await sdk.events.sees("connecting", code=0)

        for sdk in sdks:
            leaving = await sdk.events.sees("connecting")
            assert (leaving["code"], leaving["reason"]) == (3001, "shutdown")
            assert sdk.events.saw_nothing_of("disconnected")
