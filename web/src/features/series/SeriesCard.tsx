import { Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import { url, type SeriesSummary } from "../../api/client";
import { bytes } from "../../format";
import { messages } from "../../messages";

const text = messages.collection;

/** What a series is called when it has no description. */
export function titleOf(item: SeriesSummary): string {
  return (
    item.description ||
    item.study_description ||
    item.body_part ||
    text.unnamed(messages.details.formatNames[item.format] ?? item.format.toUpperCase(), item.shape[0]!)
  );
}

export function SeriesCard({ item }: { item: SeriesSummary }) {
  const [frames, rows, columns] = item.shape as [number, number, number];
  const title = titleOf(item);
  return (
    <Link to="/series/$uid" params={{ uid: item.uid }} className="tile" data-series={item.uid}>
      <div className="thumb">
        <img src={url.thumbnail(item.uid, 256)} alt={text.thumbnail(title)} loading="lazy" decoding="async" />
        <div className="over"><span>{item.modality ?? item.format.toUpperCase()}</span></div>
        <div className="under"><span>{columns} × {rows}{frames > 1 ? ` × ${frames}` : ""}</span></div>
      </div>
      <div className="body">
        <Text size="sm" fw={600} className="clamp" title={title}>{title}</Text>
        <Text size="xs" c="dimmed" className="clamp">
          {[item.subject, text.frames(frames)].filter(Boolean).join(" · ")}
        </Text>
        <Text size="xs" c="dimmed" className="numbers" mt="auto" title={text.sizeHint}>
          {text.size(bytes(item.stored_bytes), bytes(item.source_bytes))}
        </Text>
        {item.notes.length > 0 && (
          <Text size="xs" className="clamp note" title={item.notes.join("\n")}>⚠ {item.notes[0]}</Text>
        )}
      </div>
    </Link>
  );
}
