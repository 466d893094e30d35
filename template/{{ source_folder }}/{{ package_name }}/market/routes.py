"""The desk over HTTP. Each route opens its own transaction, and has committed when it answers."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, FastAPI, Path, Query, Response, status
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from sqlalchemy import select

from ..data_layer.database import NotFound, ReadSession
from ..data_layer.http import (
    Conflict,
    DatabaseDependency,
    EntityNotFound,
    ExpectedVersion,
    InvalidRequest,
    MalformedPrecondition,
    PreconditionRequired,
    documented,
    set_etag,
)
from . import orders, parts, queries
from .models import Account, Instrument, Order, Side, Status

router = APIRouter(tags=["market"])
# Separate from the others, since a module may add options to it: see `include_in`.
placing = APIRouter(tags=["market"])

NOT_FOUND = documented(EntityNotFound)
REFUSED = documented(Conflict, EntityNotFound)
VERSIONED = documented(Conflict, EntityNotFound, MalformedPrecondition, PreconditionRequired)

MAX_ID = 2**63 - 1
MAX_PAGE = 500
MAX_TURNOVER = timedelta(days=31)


def include_in(app: FastAPI) -> None:
    """Serve the desk, and what the modules add to it."""
    extra = parts("routes")
    options: dict[str, Any] = {}
    for part in extra:
        options |= getattr(part, "PLACING", {})
    app.include_router(router)
    app.include_router(placing, **options)
    for part in extra:
        app.include_router(part.router)


def _only_text(value: object) -> object:
    # Most JSON libraries turn a number into a binary float, and cents get lost on the way.
    if not isinstance(value, str):
        raise ValueError('write it as a string, such as "189.50"')
    return value


def _cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"))


Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9.\-]{1,12}$")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Units = Annotated[StrictInt, Field(gt=0, le=1_000_000_000)]
Money = Annotated[Decimal, AfterValidator(_cents)]
MoneyText = Annotated[
    Decimal,
    BeforeValidator(_only_text),
    Field(ge=0, max_digits=14, decimal_places=2),
    AfterValidator(_cents),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,12}(\.\d{1,2})?$", "examples": ["9.50"]}),
]

OrderId = Annotated[int, Path(ge=1, le=MAX_ID)]
PathSymbol = Annotated[Symbol, Path()]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most.")]
BeforeDay = Annotated[date, Query(description="Only earlier days; the last one of a page.")]


class Body(BaseModel):
    """What a client sends: exactly the documented fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Entity(BaseModel):
    """What a client gets: read from the attributes of a model."""

    model_config = ConfigDict(from_attributes=True)


class NewAccount(Body):
    """An account to open."""

    name: Text
    currency: Currency
    cash: MoneyText


class AccountState(Entity):
    """An account; `cash` is what no open order holds back."""

    id: UUID
    name: str
    currency: str
    cash: Money
    version: int
    created_at: datetime
    updated_at: datetime


class NewTransfer(Body):
    """Cash to move between two accounts."""

    source_id: UUID
    target_id: UUID
    amount: MoneyText


class InstrumentState(Entity):
    """An instrument, traded in steps of `tick_size`."""

    id: int
    symbol: str
    name: str
    currency: str
    tick_size: Money


class NewOrder(Body):
    """A limit order to place."""

    account_id: UUID
    symbol: Symbol
    side: Side
    quantity: Units
    limit_price: MoneyText


class OrderChange(Body):
    """What changes of an open order; a field that is left out stays."""

    quantity: Units | None = None
    limit_price: MoneyText | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.quantity is None and self.limit_price is None:
            raise ValueError("name a quantity, a limit_price or both")
        return self


class OrderState(Entity):
    """An order; `reserved` is the cash that it holds back."""

    id: int
    account_id: UUID
    instrument_id: int
    side: Side
    quantity: int
    limit_price: Money
    filled: int
    reserved: Money
    status: Status
    version: int
    created_at: datetime
    updated_at: datetime


class BarState(Entity):
    """One trading day of an instrument."""

    day: date
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int


@router.post("/accounts", status_code=status.HTTP_201_CREATED)
async def open_account(
    body: NewAccount, database: DatabaseDependency, response: Response
) -> AccountState:
    """Open an account."""
    async with database.transaction() as session:
        account = Account(**body.model_dump())
        session.add(account)
    response.headers["Location"] = f"/accounts/{account.id}"
    set_etag(response, account.version)
    return AccountState.model_validate(account)


@router.get("/accounts/{account_id}", responses=NOT_FOUND)
async def read_account(
    account_id: UUID, database: DatabaseDependency, response: Response
) -> AccountState:
    """One account."""
    async with database.read_only() as session:
        account = await _account(session, account_id)
    set_etag(response, account.version)
    return AccountState.model_validate(account)


@router.get("/accounts/{account_id}/positions", responses=NOT_FOUND)
async def read_positions(account_id: UUID, database: DatabaseDependency) -> list[queries.Position]:
    """What the account holds, by symbol."""
    async with database.read_only(snapshot=True) as session:
        await _account(session, account_id)
        return await queries.positions(session, account_id)


@router.get("/accounts/{account_id}/orders", responses=NOT_FOUND)
async def read_orders(
    account_id: UUID,
    database: DatabaseDependency,
    before: Annotated[int, Query(ge=1, le=MAX_ID, description="Only smaller ids.")] = MAX_ID,
    limit: Limit = 100,
) -> list[OrderState]:
    """The orders of the account, newest first."""
    async with database.read_only() as session:
        await _account(session, account_id)
        found = await orders.orders_of(session, account_id, before=before, limit=limit)
    return [OrderState.model_validate(order) for order in found]


@router.post("/transfers", status_code=status.HTTP_204_NO_CONTENT, responses=REFUSED)
async def transfer(body: NewTransfer, database: DatabaseDependency) -> None:
    """Move cash from one account to another: both change, or neither."""
    async with database.transaction() as session:
        await orders.transfer(session, **body.model_dump())


@placing.post("/orders", status_code=status.HTTP_201_CREATED, responses=REFUSED)
async def place_order(
    body: NewOrder, database: DatabaseDependency, response: Response
) -> OrderState:
    """Place an order; a buy holds back its cash until it is filled or cancelled."""
    async with database.transaction() as session:
        order = await orders.place_order(session, **body.model_dump())
    response.headers["Location"] = f"/orders/{order.id}"
    return _state(order, response)


@router.get("/orders/{order_id}", responses=NOT_FOUND)
async def read_order(
    order_id: OrderId, database: DatabaseDependency, response: Response
) -> OrderState:
    """One order; its ETag goes into the If-Match of a change."""
    async with database.read_only() as session:
        order = await session.get(Order, order_id)
    if order is None:
        raise NotFound("Order", order_id)
    return _state(order, response)


@router.patch("/orders/{order_id}", responses=VERSIONED)
async def amend_order(
    order_id: OrderId,
    body: OrderChange,
    version: ExpectedVersion,
    database: DatabaseDependency,
    response: Response,
) -> OrderState:
    """Change an open order, if it still has the version of If-Match."""
    async with database.transaction() as session:
        order = await orders.amend_order(session, order_id, version=version, **body.model_dump())
    return _state(order, response)


@router.delete("/orders/{order_id}", responses=VERSIONED)
async def cancel_order(
    order_id: OrderId, version: ExpectedVersion, database: DatabaseDependency, response: Response
) -> OrderState:
    """Cancel an open order, if it still has the version of If-Match; it stays readable."""
    async with database.transaction() as session:
        order = await orders.cancel_order(session, order_id, version=version)
    return _state(order, response)


@router.get("/instruments")
async def read_instruments(
    database: DatabaseDependency,
    after: Annotated[Symbol | None, Query(description="Only later symbols.")] = None,
    limit: Limit = 100,
) -> list[InstrumentState]:
    """The instruments, by symbol."""
    page = select(Instrument).order_by(Instrument.symbol).limit(limit)
    if after is not None:
        page = page.where(Instrument.symbol > after)
    async with database.read_only() as session:
        found = await session.scalars(page)
        return [InstrumentState.model_validate(instrument) for instrument in found]


@router.get("/instruments/{symbol}/bars", responses=NOT_FOUND)
async def read_bars(
    symbol: PathSymbol,
    database: DatabaseDependency,
    before: BeforeDay = date.max,
    limit: Limit = 100,
) -> list[BarState]:
    """Daily bars, newest first."""
    async with database.read_only() as session:
        await _instrument(session, symbol)
        bars = await queries.daily_bars(session, symbol, before=before, limit=limit)
    return [BarState.model_validate(bar) for bar in bars]


@router.get("/instruments/{symbol}/candles", responses=NOT_FOUND)
async def read_candles(
    symbol: PathSymbol,
    database: DatabaseDependency,
    before: BeforeDay = date.max,
    limit: Limit = 52,
) -> list[queries.Candle]:
    """Weekly candles, newest first."""
    async with database.read_only() as session:
        await _instrument(session, symbol)
        return await queries.weekly_candles(session, symbol, before=before, limit=limit)


@router.get("/latest-bars")
async def read_latest_bars(database: DatabaseDependency) -> list[queries.LatestBar]:
    """The last day of every instrument."""
    async with database.read_only() as session:
        return await queries.latest_bars(session)


@router.get("/turnover")
async def read_turnover(
    since: Annotated[AwareDatetime, Query()],
    until: Annotated[AwareDatetime, Query()],
    database: DatabaseDependency,
) -> list[queries.Turnover]:
    """What was traded by day (UTC) and instrument, over at most 31 days."""
    if not timedelta(0) < until - since <= MAX_TURNOVER:
        raise InvalidRequest(f"until must lie after since, by at most {MAX_TURNOVER.days} days.")
    async with database.read_only() as session:
        return await queries.turnover(session, since=since, until=until)


async def _account(session: ReadSession, account_id: UUID) -> Account:
    account = await session.get(Account, account_id)
    if account is None:
        raise NotFound("Account", account_id)
    return account


async def _instrument(session: ReadSession, symbol: str) -> Instrument:
    instrument = await session.scalar(select(Instrument).where(Instrument.symbol == symbol))
    if instrument is None:
        raise NotFound("Instrument", symbol)
    return instrument


def _state(order: Order, response: Response) -> OrderState:
    set_etag(response, order.version)
    return OrderState.model_validate(order)
