"""What pages of any house of ours share: templates, four languages, static files, faults said in words. Floor: hosting.

Stands on no walk. A house makes one `Face` over its own templates, attaches it to its application and lets handlers
`render`. Pages are whole without JavaScript; with it, `hosting/face/live.js` keeps their parts fresh. Nothing is loaded
from elsewhere, no style or script stands inside a page (the CSP of `hosting/web`). A language once chosen is kept in a
cookie; numbers, dates and money are made here, on the server.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gridmodel.clock import UtilityClock
from gridmodel.fault import Fault
from hosting.i18n import OWN_NAMES, Language, Translator, language_of, negotiate, translator
from hosting.web import PROBLEM_PAGES, ProblemPages

LANGUAGE_COOKIE = "lang_{house}"
"""Of each house its own: a browser sends a cookie to every port of a host, and hub and offices may share one."""
LANGUAGE_PARAMETER = "lang"
"""A page asked with ``?lang=ru`` sets the cookie and is asked again without it."""
COOKIE_S_MAX = 365 * 24 * 3600
"""A year: an office's machine is set once."""
ASSETS = {"face.css": "text/css", "live.js": "text/javascript"}
"""Static files that every house serves, with their content types."""
FOREVER = "public, max-age=31536000, immutable"
"""Of a static file whose address names its content."""
COMPRESSED_FROM = 4_096
"""Characters from which a page is compressed for browsers that take it: the line to it may be thin."""
QUERY_PARTS_MAX = 16
"""Parameters of an address that a language link repeats; our own pages have at most six."""


@dataclass(frozen=True, slots=True)
class Section:
    """One place in the main navigation."""

    href: str
    label: str
    """In the reader's language."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that every page of a house says at its top, in the reader's language."""

    tone: str
    title: str
    text: str


class Face:
    """The pages of one house. In a reader's language `title` names it, `sections` guide, `wordings` say faults."""

    def __init__(
        self,
        package: str,
        *,
        house: str,
        title: Callable[[Translator], str],
        zone: str,
        clock: UtilityClock,
        default: Language,
        sections: Callable[[Translator], tuple[Section, ...]],
        wordings: Callable[[Translator, Fault], str | None] = lambda _, __: None,
        notices: Callable[[Translator], tuple[Notice, ...]] = lambda _: (),
    ) -> None:
        self._cookie = LANGUAGE_COOKIE.format(house=house)
        self._notices = notices
        self._title = title
        self._zone = zone
        self._clock = clock
        self._default = default
        self._sections = sections
        self._wordings = wordings
        self._assets = {name: files("hosting").joinpath("face", name).read_bytes() for name in ASSETS}
        self.digest = sha256(b"".join(self._assets[name] for name in sorted(ASSETS))).hexdigest()[:16]
        self._pages = Environment(
            loader=ChoiceLoader([PackageLoader(package), PackageLoader("hosting", "face")]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.globals |= {"asset": self.asset, "digest": self.digest, "markup": Markup}

    def attach(self, application: web.Application) -> None:
        """Serve the static files, keep the language, and tell browsers of faults by a page."""
        application.middlewares.append(self._keep_language)
        application.router.add_get("/static/{digest}/{name}", self._static)
        application[PROBLEM_PAGES] = ProblemPages(self._problem)

    def asset(self, name: str) -> str:
        """The address of a static file."""
        return f"/static/{self.digest}/{name}"

    def speaker(self, request: web.Request) -> Translator:
        """Who speaks to this reader: the cookie first, then the browser's wish, then the house's own language."""
        wish = request.headers.get("Accept-Language")
        return translator(negotiate(wish, request.cookies.get(self._cookie), self._default))

    def render(
        self, request: web.Request, template: str, values: Mapping[str, Any] | None = None, *, status: int = 200
    ) -> web.Response:
        """The page `template` with `values`, in the reader's language."""
        t = self.speaker(request)
        text = self._pages.get_template(template).render(
            t=t,
            _=t.gettext,
            ngettext=t.ngettext,
            zone=self._zone,
            now=self._clock.now(),
            house=self._title(t),
            sections=self._sections(t),
            path=request.path,
            languages=_languages(request),
            notices=self._notices(t),
            **(values or {}),
        )
        response = web.Response(text=text, content_type="text/html", status=status)
        if len(text) > COMPRESSED_FROM:
            response.enable_compression()
        response.headers["Vary"] = "Accept-Encoding, Accept-Language, Cookie"
        response.headers["Content-Language"] = t.tag
        return response

    def words_for(self, t: Translator, fault: Fault) -> str:
        """What to do about a fault, in the reader's language; its own words are English and for engineers."""
        return self._wordings(t, fault) or _common_words(t, fault)

    async def _static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._assets or request.match_info["digest"] != self.digest:
            raise web.HTTPNotFound
        return web.Response(
            body=self._assets[name], content_type=ASSETS[name], charset="utf-8", headers={"Cache-Control": FOREVER}
        )

    def _problem(self, request: web.Request, fault: Fault, status: int, trace: str) -> web.Response:
        said = self.words_for(self.speaker(request), fault)
        return self.render(
            request, "problem.html", {"fault": fault, "status": status, "trace": trace, "said": said}, status=status
        )

    @web.middleware
    async def _keep_language(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        asked = request.query.get(LANGUAGE_PARAMETER)
        if asked is None or request.method != "GET":
            return await handler(request)
        rest = {name: value for name, value in request.query.items() if name != LANGUAGE_PARAMETER}
        answer = web.HTTPSeeOther(address("/" + request.path.lstrip("/"), rest))
        language = language_of(asked)
        if language is not None:
            answer.set_cookie(
                self._cookie, language.value, max_age=COOKIE_S_MAX, path="/", httponly=True, samesite="Lax"
            )
        raise answer


def _common_words(t: Translator, fault: Fault) -> str:
    """What any house may say to a person whose request cannot be met."""
    _ = t.gettext
    said = {
        "PD-02": _("This is not a date. Write year, month and day: 2026-05-04."),
        "PD-03": _("This time cannot be read. Choose the full hour again."),
        "PD-04": _("This time cannot be read. Choose the full hour again."),
        "ID-01": _("This number has letters or signs that no number of ours has."),
        "WB-01": _("This server does not go by that name. Use the address that you were given."),
        "WB-02": _("This came from the page of another site and was refused."),
        "WB-03": _("Too much was sent at once. Send less."),
        "WB-04": _("Nothing is at this address. Check it, or begin at the first page."),
        "WB-05": _(
            "You did nothing wrong. Try again in a minute; if it stays so, tell an engineer the code and the trace."
        ),
    }
    other = _("It is not clear what was asked. Go back and choose again, or begin at the first page.")
    return said.get(fault.code.removeprefix("TQ-"), other)


def address(path: str, query: Mapping[str, str | None]) -> str:
    """`path` with the parameters that have a value."""
    told = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(told)}" if told else path


def _languages(request: web.Request) -> list[tuple[Language, str, str]]:
    """Each language with its own name and the address of this page in it."""
    query = dict(list(request.query.items())[:QUERY_PARTS_MAX])
    query.pop(LANGUAGE_PARAMETER, None)
    path = request.path if request.method in {"GET", "HEAD"} else "/"
    return [
        (language, name, address(path, {**query, LANGUAGE_PARAMETER: language.value}))
        for language, name in OWN_NAMES.items()
    ]
