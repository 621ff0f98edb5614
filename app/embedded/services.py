"""What the routes reach: the engine, the stores and the counters, opened once a process."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.requests import Request

from app.embedded.documents import Document, read_documents
from app.embedded.engine import Engine
from app.embedded.faults import Faults
from app.embedded.library import Library
from app.embedded.responders.base import Responder
from app.embedded.responders.guide import GuideResponder
from app.embedded.responders.scripted import ScriptedResponder
from app.embedded.settings import EmbeddedSettings
from app.embedded.store.containers import ContainerStore
from app.embedded.store.conversations import ConversationStore
from app.embedded.store.database import Database, open_database
from app.embedded.store.files import FileStore
from app.embedded.store.passages import PassageIndex
from app.embedded.store.responses import ResponseStore
from app.embedded.store.vector_stores import VectorStores
from app.embedded.streaming import OpenStreams


@dataclass(frozen=True, slots=True)
class Services:
    """Everything one embedded upstream is made of."""

    settings: EmbeddedSettings
    responder: Responder
    engine: Engine
    conversations: ConversationStore
    files: FileStore
    containers: ContainerStore
    vector_stores: VectorStores
    responses: ResponseStore
    faults: Faults
    open_streams: OpenStreams = field(default_factory=OpenStreams)
    requests: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def open_services(settings: EmbeddedSettings) -> AsyncIterator[Services]:
    """Open the database and the responder; end every live response on the way out."""
    documents = await asyncio.to_thread(read_documents, settings.docs)
    async with AsyncExitStack() as stack:
        responder = _open_responder(settings, documents, stack)
        database = await stack.enter_async_context(open_database(settings.db))
        folder = stack.enter_context(_file_folder(settings.db))
        passages = PassageIndex(database)
        files = FileStore(database, folder, documents, passages)
        await files.tidy()
        services = _assemble(settings, responder, database, files, passages)
        await services.responses.tidy()
        await services.containers.tidy()
        stack.push_async_callback(services.engine.aclose)
        yield services


def _open_responder(
    settings: EmbeddedSettings, documents: Mapping[str, Document], stack: AsyncExitStack
) -> Responder:
    if settings.responder == "scripted":
        return ScriptedResponder(settings.model, settings.seed)
    guide = GuideResponder(documents.values(), settings.docs_url)
    stack.callback(guide.close)
    return guide


def _assemble(
    settings: EmbeddedSettings,
    responder: Responder,
    database: Database,
    files: FileStore,
    passages: PassageIndex,
) -> Services:
    containers = ContainerStore(database, settings.container_seconds)
    vector_stores = VectorStores(database, files, passages)
    conversations, responses = ConversationStore(database), ResponseStore(database)
    library = Library(files, containers, vector_stores, passages)
    return Services(
        settings=settings,
        responder=responder,
        engine=Engine(settings, responder, conversations, responses, library),
        conversations=conversations,
        files=files,
        containers=containers,
        vector_stores=vector_stores,
        responses=responses,
        faults=Faults(settings),
    )


@contextmanager
def _file_folder(db: str) -> Iterator[Path]:
    if db != ":memory:":
        yield Path(f"{db}.files")
        return
    with TemporaryDirectory(prefix="embedded-files-") as folder:
        yield Path(folder)


def services_of(request: Request) -> Services:
    """The services behind a request."""
    services: Services = request.app.state.services
    return services
