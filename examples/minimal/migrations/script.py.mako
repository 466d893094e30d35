"""${message if title is UNDEFINED else title}

Revision ID: ${up_revision}
Revises: ${"nothing" if down_revision is None else down_revision | comma,n}
Create Date: ${create_date}
"""

% if "sa." in f"{upgrades}{downgrades}":
import sqlalchemy as sa
% endif
% if not upgrades or " op." in f" {upgrades} {downgrades}":
from alembic import op
% endif
${imports if imports else ""}

revision: str = ${repr(up_revision)}
down_revision: str | tuple[str, ...] | None = ${repr(down_revision)}
branch_labels: str | tuple[str, ...] | None = ${repr(branch_labels)}
depends_on: str | tuple[str, ...] | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
