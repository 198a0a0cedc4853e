"""Serving the console: who is signed in, what their role may, that a form is ours, and what every answer carries.

Order of a request: the policy that the handler states decides first; then the session; then, for a POST, where it comes
from (`Sec-Fetch-Site`, `Origin`) and the form's token; then the role; then the page's function. Until the installation
has a team member everything here is for this machine only. Nothing is framed, no script runs that is not ours.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import web
from multidict import MultiDict
from sqlalchemy import Connection

from bot.live import Live
from console import sessions, static
from console.live import NEWS, News, tell
from console.rendering import Renderer
from console.routing import Answer, Goto, Page, Rendered, Visit, pages
from console.texts import LANGUAGES, Words, preferred
from crm import accounts
from crm.accounts import SignedIn
from domain import ids
from domain.access import access, policy_of
from domain.errors import AppError, Conflict, NotAllowed, NotFound, RejectedInput, Unavailable
from domain.events import storable
from storage.database import Queue

PREFIX = "/console"
MAX_FORM = 200_000  # bytes: a long message in every field of the largest form
MAX_FIELD = 20_000  # characters
FORM_S = 15.0  # for the whole form
LANGUAGE_COOKIE = "passaparola_language"
_YEAR_S = 365 * 86_400
_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_log = structlog.get_logger("console")


# An English sentence of an error, and the language of the person who reads it.
Say = Callable[[str, str], str]


class Desk:
    """What every request needs, made once."""

    def __init__(self, live: Live, *, secure: bool, say: Say) -> None:
        self.live = live
        self.say = say
        self.secure = secure
        # A browser takes `__Host-` only over https, from this host, for all paths: nobody beside us can plant it.
        self.cookie = "__Host-passaparola" if secure else "passaparola_session"
        self.renderer = Renderer(live)


DESK = web.AppKey("console_desk", Desk)
WHO: web.RequestKey[SignedIn] = web.RequestKey("who", SignedIn)
TOKEN: web.RequestKey[str] = web.RequestKey("token", str)


def add_routes(
    app: web.Application,
    live: Live,
    *,
    secure: bool = False,
    say: Say = lambda sentence, language: sentence,
) -> None:
    """Mounts the console below `/console`, and sends `/` there. `secure`: people come by https (PUBLIC_URL says so);
    `say` puts the sentences of errors into the person's language.

    Raises RuntimeError for a route without an access policy.
    """
    inner = web.Application(middlewares=[answered, allowed])
    inner[DESK] = Desk(live, secure=secure, say=say)
    news = inner[NEWS] = News(live.runtime, HEADERS)
    inner.on_startup.append(news.start)
    inner.on_shutdown.append(news.end)
    inner.on_cleanup.append(news.close)
    for page in pages():
        handler = _handler(page)
        inner.router.add_route(page.method, page.path, handler)
    inner.router.add_route("GET", "", to_console)
    inner.router.add_route("GET", "/sign-in", ask_to_sign_in)
    inner.router.add_route("GET", "/sign-in/{token}", sign_in)
    inner.router.add_route("POST", "/sign-out", sign_out)
    inner.router.add_route("GET", "/live", tell)
    inner.router.add_route("GET", "/static/{name}", static.serve)
    for one in inner.router.routes():
        if policy_of(one.handler) is None:
            raise RuntimeError(f"{one.method} {one.resource} states no access policy")
    app.add_subapp(PREFIX, inner)
    app.router.add_route("GET", "/", to_console)


@access("public")
async def to_console(request: web.Request) -> web.Response:
    """The way in."""
    raise web.HTTPFound(f"{PREFIX}/")


@access("public")
async def ask_to_sign_in(request: web.Request) -> web.Response:
    """Says how one gets in: by a link that the command gives."""
    return _rendered(request, Rendered("sign_in/ask.html"))


@access("public")
async def sign_in(request: web.Request) -> web.Response:
    """Uses a one-time link. A browser that only looks ahead does not use it up."""
    desk = request.app[DESK]
    if "prefetch" in request.headers.get("Sec-Purpose", request.headers.get("Purpose", "")):
        raise web.HTTPNoContent
    now = desk.live.runtime.clock()
    token = request.match_info["token"]

    def use(connection: Connection) -> str | None:
        who = accounts.use_sign_in_link(connection, token, now=now)
        if who is None:
            return None
        accounts.audit(
            connection,
            workspace_id=who.workspace_id,
            actor=f"agent:{who.user_id}",
            action="signed_in",
            target=str(who.user_id),
            new_id=desk.live.runtime.new_id,
            now=now,
        )
        return sessions.begin(connection, who, now=now)

    database = desk.live.runtime.database
    session = None
    # Looked up first: whoever guesses costs a read, never a write.
    if len(token) <= 200 and await database.read(lambda c: sessions.link_is_open(c, token, now=now)):
        session = await database.write(use, queue=Queue.people)
    if session is None:
        return _rendered(request, Rendered("sign_in/ask.html", {"failed": True}, status=403))
    response = web.Response(status=303, headers={"Location": f"{PREFIX}/"})
    response.set_cookie(
        desk.cookie,
        session,
        max_age=sessions.LIFE_MS // 1000,
        path="/",
        httponly=True,
        secure=desk.secure,
        samesite="Lax",
    )
    return response


@access("console")
async def sign_out(request: web.Request) -> web.Response:
    """Ends the session."""
    desk = request.app[DESK]
    await _checked_form(request)
    await desk.live.runtime.database.write(lambda c: sessions.end(c, request[TOKEN]), queue=Queue.people)
    response = web.Response(
        status=303, headers={"Location": f"{PREFIX}/sign-in", "Clear-Site-Data": '"cache", "storage"'}
    )
    response.del_cookie(desk.cookie, path="/", secure=desk.secure, httponly=True, samesite="Lax")
    return response


Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answered(request: web.Request, handler: Next) -> web.StreamResponse:
    """Every error is a page, and every answer carries our headers."""
    try:
        response = await handler(request)
    except web.HTTPRedirection as redirection:
        response = web.Response(
            status=redirection.status, headers={"Location": redirection.headers["Location"]}
        )
    except Exception as error:
        response = _error_page(request, error)
    response.headers.update(HEADERS)
    if request.app[DESK].secure:
        response.headers["Strict-Transport-Security"] = f"max-age={_YEAR_S}"
    response.headers.setdefault("Cache-Control", "no-store")
    chosen = request.query.get("language", "")
    if chosen in LANGUAGES:
        desk = request.app[DESK]
        response.set_cookie(
            LANGUAGE_COOKIE,
            chosen,
            max_age=_YEAR_S,
            path=PREFIX,
            secure=desk.secure,
            httponly=True,
            samesite="Lax",
        )
    return response


@web.middleware
async def allowed(request: web.Request, handler: Next) -> web.StreamResponse:
    """Enforces the policy that the handler states."""
    if request.match_info.http_exception is not None:
        return await handler(request)
    policy = policy_of(request.match_info.handler)
    desk = request.app[DESK]
    if not _from_here(request) and not await desk.live.runtime.database.read(sessions.anybody):
        raise NotAllowed("until there is a team member the console is for this machine only")
    if policy == "console":
        token = request.cookies.get(desk.cookie, "")
        found = await _session(desk, token)
        if found is None:
            raise web.HTTPSeeOther(f"{PREFIX}/sign-in")
        request[WHO], request[TOKEN] = found, token
    elif policy != "public":
        raise NotAllowed("this is not for the console")
    return await handler(request)


async def _session(desk: Desk, token: str) -> SignedIn | None:
    if not token or len(token) > 200 or not token.isascii():
        return None
    database, now = desk.live.runtime.database, desk.live.runtime.clock()
    found = await database.read(lambda connection: sessions.find(connection, token, now=now))
    if found is None:
        return None
    who, renew = found
    if renew:
        await database.write(lambda c: sessions.extend(c, token, now=now), queue=Queue.people, durable=False)
    return who


def _from_here(request: web.Request) -> bool:
    """Whether it comes from this machine and not through a proxy on it."""
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    try:
        return request.remote is not None and ip_address(request.remote).is_loopback
    except ValueError:
        return False


def _handler(page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The HTTP side of a page."""

    @access("console")
    async def handler(request: web.Request) -> web.Response:
        form = await _checked_form(request) if page.method == "POST" else {}
        visit = Visit(
            live=request.app[DESK].live,
            who=request[WHO],
            words=_words(request),
            request=request,
            ids=_path_ids(request, page),
            form=form,
        )
        if not visit.may(page.needs):
            raise NotAllowed(visit.words("role_may_not"))
        return _answer(request, await _asked(page, visit), visit)

    return handler


async def _asked(page: Page, visit: Visit) -> Answer:
    """The page's answer; a form that was refused is shown again with the reason, and what was typed."""
    try:
        return await page.handler(visit)
    except (RejectedInput, Conflict) as error:
        if page.again is None:
            raise
        said = _in_words(visit.request, error, visit.words.language)
        again = await page.again(visit, said)
        if isinstance(again, Rendered):
            return Rendered(again.template, {**again.values, "error": said}, status=422)
        return again


def _answer(request: web.Request, answer: Answer, visit: Visit) -> web.Response:
    if isinstance(answer, Goto):
        tail = f"?done={quote(answer.done)}" if answer.done else ""
        return web.Response(status=303, headers={"Location": f"{PREFIX}{answer.path}{tail}"})
    return _rendered(request, answer, visit)


def _rendered(request: web.Request, answer: Rendered, visit: Visit | None = None) -> web.Response:
    desk = request.app[DESK]
    csrf = _form_token(desk, request.get(TOKEN, ""))
    html = desk.renderer.render(
        answer.template,
        answer.values,
        words=visit.words if visit else _words(request),
        visit=visit,
        path=request.path,
        csrf=csrf,
        done=request.query.get("done", ""),
    )
    return web.Response(text=html, content_type="text/html", charset="utf-8", status=answer.status)


def _error_page(request: web.Request, error: Exception) -> web.Response:
    status, heading = _status_of(error)
    known = isinstance(error, AppError) and status != 500
    detail = _in_words(request, error, _words(request).language) if known else ""
    if status == 500:
        _log.error("console_failed", path=request.path, problem=type(error).__name__, exc_info=error)
    response = _rendered(
        request, Rendered("error/error.html", {"heading": heading, "detail": detail}, status)
    )
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    return response


def _in_words(request: web.Request, error: Exception, language: str) -> str:
    """What is wrong and where, in the person's language as far as it is known."""
    say = request.app[DESK].say
    if isinstance(error, RejectedInput) and error.where:
        return f"{error.where}: {say(error.what, language)}"
    return say(str(error), language)


def _status_of(error: Exception) -> tuple[int, str]:
    match error:
        case NotFound():
            return 404, "error_not_found"
        case NotAllowed():
            return 403, "error_not_allowed"
        case Conflict():
            return 409, "error_conflict"
        case RejectedInput():
            return 422, "error_rejected"
        case Unavailable():
            return 503, "error_unavailable"
        case web.HTTPNotFound():
            return 404, "error_not_found"
        case web.HTTPException():
            return error.status, "error_rejected"
    return 500, "error_failed"


async def _checked_form(request: web.Request) -> Mapping[str, str]:
    """The form of a POST that is surely ours. Raises NotAllowed, RejectedInput."""
    desk = request.app[DESK]
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise NotAllowed("this form came from another site")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise NotAllowed("this form came from another site")
    if request.content_type != "application/x-www-form-urlencoded":
        raise RejectedInput("must be a form", where="Content-Type")
    length = request.content_length
    if length is None or length > MAX_FORM:  # browsers tell a form's length; nobody may send one without end
        raise web.HTTPRequestEntityTooLarge(max_size=MAX_FORM, actual_size=length or 0)
    try:
        async with asyncio.timeout(FORM_S):
            posted = await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    form = _single(posted)
    given = form.pop("csrf", "")
    expected = _form_token(desk, request[TOKEN])
    if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode()):
        raise NotAllowed("this form is too old: load the page again")
    return form


def _single(posted: Mapping[str, object]) -> dict[str, str]:
    """A form's fields. Raises RejectedInput for files, doubled and very long fields."""
    form: dict[str, str] = {}
    for name, value in MultiDict(posted).items():
        if not isinstance(value, str) or name in form or len(value) > MAX_FIELD:
            raise RejectedInput("does not fit into this form", where=name[:50])
        form[storable(name)] = storable(value).replace("\r\n", "\n")
    return form


def _form_token(desk: Desk, session: str) -> str:
    """The token of this session's forms."""
    return desk.live.runtime.sealer.keyed_hash("console form", session) if session else ""


def _path_ids(request: web.Request, page: Page) -> dict[str, int]:
    try:
        return {kind: ids.from_text(kind, request.match_info[f"{kind}_id"]) for kind in page.kinds}
    except RejectedInput as error:
        raise NotFound(error.what) from None


def _words(request: web.Request) -> Words:
    for chosen in (request.query.get("language", ""), request.cookies.get(LANGUAGE_COOKIE, "")):
        if chosen in LANGUAGES:
            return Words(chosen)
    return Words(preferred(request.headers.get("Accept-Language", "")))
