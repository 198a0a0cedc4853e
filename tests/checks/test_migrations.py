"""A migration that would stop the program before is refused, unless it says since when nobody needs what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks import migrations

HEAD = """
import sqlalchemy as sa
from alembic import op

revision = "0005"
{contract}

def upgrade() -> None:
    {statement}


def downgrade() -> None:
    op.drop_table("added")
"""


def found(folder: Path, statement: str, contract: str = "") -> list[str]:
    path = folder / migrations.FOLDER / "0005_next.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD.format(statement=statement, contract=contract))
    return list(migrations.problems(folder))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ('op.drop_column("contact", "name")', "drops a column"),
        ('op.drop_table("contact")', "drops a table"),
        ('op.rename_table("contact", "person")', "renames a table"),
        ('op.alter_column("contact", "name", new_column_name="full_name")', "changes a column"),
        ('op.alter_column("contact", "name", nullable=False)', "changes a column"),
        ('op.add_column("contact", sa.Column("a", sa.Text(), nullable=False))', "has no server_default"),
        ('op.execute("alter table contact drop  column name")', "says DROP COLUMN"),
        ('op.execute(f"ALTER TABLE {1} RENAME TO person")', "says RENAME TO"),
        (
            'with op.batch_alter_table("contact") as batch:\n        batch.drop_column("name")',
            "drops a column",
        ),
    ],
)
def test_what_the_program_before_needs_stays(tmp_path: Path, statement: str, said: str) -> None:
    (problem,) = found(tmp_path, statement)
    assert problem.startswith("0005_next.py:")
    assert said in problem
    assert found(tmp_path, statement, 'contract = "0003"') == []


@pytest.mark.parametrize(
    "statement",
    [
        'op.create_table("added", sa.Column("id", sa.BigInteger(), primary_key=True))',
        'op.add_column("contact", sa.Column("a", sa.Text(), nullable=True))',
        'op.add_column("contact", sa.Column("a", sa.Text(), nullable=False, server_default=""))',
        'op.create_index("a", "contact", ["name"])',
    ],
)
def test_adding_is_free(tmp_path: Path, statement: str) -> None:
    assert found(tmp_path, statement) == []


@pytest.mark.parametrize("version", ["0005", "0006", "5", "soon"])
def test_a_contract_names_an_earlier_version(tmp_path: Path, version: str) -> None:
    (problem,) = found(tmp_path, 'op.drop_table("a")', f'contract = "{version}"')
    assert "must name a version before 0005" in problem
