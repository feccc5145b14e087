"""Search: terms, attributes, concepts, texts, reports, subject attributes, saved selections"""

import json
import unicodedata
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_CHUNK = 8192
"""Of `columns.CHUNK`, as it was when this was written."""
_BATCH = 5000
_FIELDS = ("description", "concepts", "report", "other")


def upgrade() -> None:
    op.create_table(
        "terms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_terms")),
        sa.UniqueConstraint("text", name=op.f("uq_terms_text")),
    )
    op.create_table(
        "search_rows",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("collection", sa.Integer(), nullable=False),
        sa.Column("study", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=True)
            for name in ("subject", "modality", "bodypart", "manufacturer", "model", "sex", "format")
        ),
        sa.Column("age", sa.Double(), nullable=True),
        sa.Column("date", sa.Integer(), nullable=True),
        sa.Column("thickness", sa.Double(), nullable=True),
        sa.Column("spacing", sa.Double(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("frames", "rows", "columns")),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        _of_series("search_rows"),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_search_rows")),
    )
    op.create_table(
        "search_chunks",
        sa.Column("chunk", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("others", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("chunk", name=op.f("pk_search_chunks")),
    )
    op.create_table(
        "search_texts",
        sa.Column("series_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _FIELDS),
        _of_series("search_texts"),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_search_texts")),
    )
    op.create_table(
        "attribute_values",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("keyword", sa.String(length=64), nullable=False),
        sa.Column("text", sa.String(length=100), nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribute_values")),
        sa.UniqueConstraint("keyword", "text", name=op.f("uq_attribute_values_keyword")),
    )
    op.create_index(
        op.f("ix_attribute_values_keyword_number"), "attribute_values", ["keyword", "number"], unique=False
    )
    op.create_table(
        "series_attributes",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("value_id", sa.Integer(), nullable=False),
        _of_series("series_attributes"),
        sa.ForeignKeyConstraint(
            ["value_id"], ["attribute_values.id"], name=op.f("fk_series_attributes_value_id_attribute_values")
        ),
        sa.PrimaryKeyConstraint("series_id", "value_id", name=op.f("pk_series_attributes")),
    )
    op.create_index(
        op.f("ix_series_attributes_value_id"), "series_attributes", ["value_id", "series_id"], unique=False
    )
    op.create_table(
        "concepts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("scheme", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("meaning", sa.String(length=300), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_concepts")),
        sa.UniqueConstraint("kind", "scheme", "code", name=op.f("uq_concepts_kind")),
    )
    op.create_table(
        "series_concepts",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("concept_id", sa.Integer(), nullable=False),
        sa.Column("added", sa.Boolean(), nullable=False),
        _of_series("series_concepts"),
        sa.ForeignKeyConstraint(
            ["concept_id"], ["concepts.id"], name=op.f("fk_series_concepts_concept_id_concepts")
        ),
        sa.PrimaryKeyConstraint("series_id", "concept_id", name=op.f("pk_series_concepts")),
    )
    op.create_index(
        op.f("ix_series_concepts_concept_id"), "series_concepts", ["concept_id", "series_id"], unique=False
    )
    op.create_table(
        "reports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_reports_study_id_studies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
    )
    op.create_index(op.f("ix_reports_study_id"), "reports", ["study_id"], unique=False)
    op.create_table(
        "subject_attributes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("text", sa.String(length=500), nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("date", sa.String(length=8), nullable=True),
        sa.ForeignKeyConstraint(
            ["subject_id"],
            ["subjects.id"],
            name=op.f("fk_subject_attributes_subject_id_subjects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subject_attributes")),
        sa.UniqueConstraint("subject_id", "key", name=op.f("uq_subject_attributes_subject_id")),
    )
    op.create_index(op.f("ix_subject_attributes_key"), "subject_attributes", ["key", "number"], unique=False)
    op.create_table(
        "saved_selections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_selections")),
        sa.UniqueConstraint("username", "name", name=op.f("uq_saved_selections_username")),
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
    _fill(op.get_bind())


def _of_series(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["series_id"], ["series.id"], name=op.f(f"fk_{table}_series_id_series"), ondelete="CASCADE"
    )


# A number that is free again may go to another series: then nothing that is remembered of it holds.
_ON_CONFLICT = (
    "ON CONFLICT (chunk) DO UPDATE SET rows = search_chunks.rows + 1, others = search_chunks.others + "
)
_OTHERS = {"INSERT": 0, "UPDATE": 0, "DELETE": 1}
_NAMES = ", ".join(_FIELDS)


def _values(row: str) -> str:
    return ", ".join(f"{row}.{name}" for name in _FIELDS)


_SQLITE = [
    *(
        f"CREATE TRIGGER search_rows_{event.lower()} AFTER {event} ON search_rows "
        f"BEGIN INSERT INTO search_chunks (chunk, rows, others) VALUES ({row}.series_id / {_CHUNK}, 1, 0) "
        f"{_ON_CONFLICT}{_OTHERS[event]}; END"
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ),
    # Words are folded before they come here (`model.words`), so that both databases find the same.
    f"CREATE VIRTUAL TABLE search_index USING fts5({_NAMES}, "
    "content='search_texts', content_rowid='series_id', tokenize='unicode61 remove_diacritics 0')",
    "CREATE TRIGGER search_texts_insert AFTER INSERT ON search_texts BEGIN "
    f"INSERT INTO search_index(rowid, {_NAMES}) VALUES (NEW.series_id, {_values('NEW')}); END",
    *(
        f"CREATE TRIGGER search_texts_{event.lower()} AFTER {event} ON search_texts BEGIN "
        f"INSERT INTO search_index(search_index, rowid, {_NAMES}) "
        f"VALUES ('delete', OLD.series_id, {_values('OLD')}); {more} END"
        for event, more in (
            ("DELETE", ""),
            (
                "UPDATE",
                f"INSERT INTO search_index(rowid, {_NAMES}) VALUES (NEW.series_id, {_values('NEW')});",
            ),
        )
    ),
]
_VECTOR = " || ".join(
    f"setweight(to_tsvector('simple'::regconfig, {name}), '{weight}')"
    for name, weight in zip(_FIELDS, "ABCD", strict=True)
)
_POSTGRESQL = [
    f"""
    CREATE FUNCTION search_rows_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO search_chunks (chunk, rows, others)
        SELECT series_id / {_CHUNK}, 1, 0 FROM changed GROUP BY 1 ORDER BY 1
        {_ON_CONFLICT}CAST(TG_ARGV[0] AS integer);
        RETURN NULL;
    END $$
    """,
    *(
        f"CREATE TRIGGER search_rows_{event.lower()} AFTER {event} ON search_rows REFERENCING {rows} TABLE "
        f"AS changed FOR EACH STATEMENT EXECUTE FUNCTION search_rows_changed({_OTHERS[event]})"
        for event, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ),
    f"ALTER TABLE search_texts ADD COLUMN vector tsvector GENERATED ALWAYS AS ({_VECTOR}) STORED",
    "CREATE INDEX ix_search_texts_vector ON search_texts USING gin (vector)",
]


def _fill(connection: sa.Connection) -> None:
    """Make known series findable by what the catalog knows; `imarium catalog rebuild` reads their headers."""
    tables = {
        name: sa.Table(name, sa.MetaData(), autoload_with=connection)
        for name in ("series", "studies", "labels", "terms", "search_rows", "search_texts")
    }
    series, studies = tables["series"], tables["studies"]
    query = (
        sa.select(
            series.c.id,
            series.c.study_id,
            series.c.stored_bytes,
            series.c.facts,
            studies.c.collection_id,
            studies.c.subject_id,
            studies.c.description,
            studies.c.date,
        )
        .join(studies, studies.c.id == series.c.study_id)
        .order_by(series.c.id)
        .limit(_BATCH)
    )
    terms: dict[str, int] = {}
    last = -1
    while found := connection.execute(query.where(series.c.id > last)).all():
        last = found[-1].id
        said = [row.facts if isinstance(row.facts, dict) else json.loads(row.facts) for row in found]
        wanted = {_plain(facts.get(key)) for facts in said for key in ("modality", "body_part", "format")}
        for text in sorted(wanted - terms.keys() - {""}):
            key = connection.execute(tables["terms"].insert().values(text=text)).inserted_primary_key
            assert key is not None
            terms[text] = key[0]
        labels: dict[int, list[str]] = {}
        label = tables["labels"].c
        for row in connection.execute(
            sa.select(label.series_id, label.key, label.value)
            .where(label.series_id >= found[0].id, label.series_id <= last)
            .order_by(label.key)
        ):
            labels.setdefault(row.series_id, []).append(f"{row.key} {row.value}")
        connection.execute(
            tables["search_rows"].insert(),
            [_row(row, facts, terms) for row, facts in zip(found, said, strict=True)],
        )
        connection.execute(
            tables["search_texts"].insert(),
            [
                {
                    "series_id": row.id,
                    "description": _words(f"{facts.get('description') or ''} {row.description or ''}"),
                    "concepts": _words(" ".join(labels.get(row.id, []))),
                    "report": "",
                    "other": _words(
                        " ".join(facts.get(key) or "" for key in ("modality", "body_part", "format"))
                    ),
                }
                for row, facts in zip(found, said, strict=True)
            ],
        )


def _row(row: Any, facts: dict[str, Any], terms: dict[str, int]) -> dict[str, Any]:
    date = row.date or ""
    affine = facts.get("affine")
    spacing = None
    if affine:
        sides = [sum(affine[axis][side] ** 2 for axis in range(3)) ** 0.5 for side in range(2)]
        spacing = min(sides)
    return {
        "series_id": row.id,
        "collection": row.collection_id,
        "study": row.study_id,
        "subject": row.subject_id,
        "modality": terms.get(_plain(facts.get("modality"))),
        "bodypart": terms.get(_plain(facts.get("body_part"))),
        "format": terms.get(_plain(facts.get("format"))),
        "date": int(date) if len(date) == 8 and date.isascii() and date.isdigit() else None,
        "spacing": spacing,
        "frames": facts["frames"],
        "rows": facts["rows"],
        "columns": facts["columns"],
        "bytes": row.stored_bytes,
    }


def _plain(text: str | None) -> str:
    return (text or "").replace("\0", "")[:200]


def _words(text: str) -> str:
    """Of `model.words`, as it was when this was written."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    folded = "".join(character for character in folded if not unicodedata.combining(character))
    folded = unicodedata.normalize("NFKC", folded)
    spaced = "".join(character if character.isalnum() else " " for character in folded)
    return " ".join(spaced.split())


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE search_index")
    for table in (
        "saved_selections",
        "subject_attributes",
        "reports",
        "series_concepts",
        "concepts",
        "series_attributes",
        "attribute_values",
        "search_texts",
        "search_rows",
        "search_chunks",
        "terms",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION search_rows_changed()")
