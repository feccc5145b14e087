import { Alert, Button, CopyButton, Group, Select, Stack, Table, Text, Title } from "@mantine/core";
import { useState, type ReactNode } from "react";

import { url, type SeriesDetail } from "../../api/client";
import { bytes, date, number, percent } from "../../format";
import { messages } from "../../messages";
import { itemSize } from "../../pack/values";
import { Download } from "../../ui/icons";

const text = messages.details;

export function Details({ series }: { series: SeriesDetail }) {
  return (
    <Stack gap="lg">
      {series.notes.length > 0 && (
        <Alert color="yellow" title={<span className="note">{text.notes}</span>} p="sm">
          {series.notes.map((note) => <Text size="sm" key={note}>{note}</Text>)}
        </Alert>
      )}
      <Downloads series={series} />
      <Facts series={series} />
      <Levels series={series} />
    </Stack>
  );
}

function Facts({ series }: { series: SeriesDetail }) {
  const [frames, rows, columns] = series.shape as [number, number, number];
  const unit = series.rescale_unit ? ` ${series.rescale_unit}` : "";
  const rescaled = series.rescale_slope !== 1 || series.rescale_intercept !== 0;
  const facts: [string, ReactNode][] = [
    [text.modality, series.modality],
    [text.bodyPart, series.body_part],
    [text.subject, series.subject],
    [text.study, series.study_description],
    [text.date, date(series.study_date)],
    [text.shape, text.shapeValue(columns, rows, frames)],
    [text.dimensions, series.dimensions.length > 1 && series.dimensions.join(" × ")],
    [text.spacing, series.spacing
      ? text.spacingValue(number(series.spacing[0]!), number(series.spacing[1]!), number(series.spacing[2]!))
      : text.spacingUnknown],
    [text.timeStep, series.time_step && text.seconds(number(series.time_step))],
    [text.dtype, text.dtypeValue(series.dtype, series.bits_stored)],
    [text.samples, series.samples > 1 && series.samples],
    [text.photometric, series.photometric],
    [text.rescale, rescaled && text.rescaleValue(
      number(series.rescale_slope), series.rescale_intercept < 0 ? "−" : "+", number(Math.abs(series.rescale_intercept)), unit)],
    [text.format, text.formatNames[series.format] ?? series.format.toUpperCase()],
    [text.stored, text.storedValue(bytes(series.stored_bytes), bytes(series.source_bytes), percent(series.stored_bytes / series.source_bytes))],
    [text.uid, <>
      {series.uid}{" "}
      <CopyButton value={series.uid}>
        {({ copied, copy }) => (
          <Button size="compact-xs" variant="subtle" onClick={copy}>{copied ? text.copied : text.copy}</Button>
        )}
      </CopyButton>
    </>],
  ];
  return (
    <section>
      <Title order={2} size="h5" mb={8}>{text.image}</Title>
      <dl className="facts">
        {facts.filter(([, value]) => value).map(([name, value]) => [
          <dt key={`${name} name`}>{name}</dt>,
          <dd key={name}>{value}</dd>,
        ])}
      </dl>
    </section>
  );
}

function Levels({ series }: { series: SeriesDetail }) {
  const whole = Math.max(...series.level_details.map((detail) => detail.bytes), 1);
  return (
    <section>
      <Title order={2} size="h5" mb={4}>{text.levels}</Title>
      <Table verticalSpacing={4} fz="sm" className="numbers">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{text.level}</Table.Th>
            <Table.Th>{text.pixels}</Table.Th>
            <Table.Th ta="right">{text.bytes}</Table.Th>
            <Table.Th ta="right">{text.share}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {series.level_details.map((detail) => (
            <Table.Tr key={detail.level}>
              <Table.Td>{detail.level}</Table.Td>
              <Table.Td>{detail.columns} × {detail.rows}</Table.Td>
              <Table.Td ta="right">{bytes(detail.bytes)}</Table.Td>
              <Table.Td ta="right">{percent(detail.bytes / whole)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </section>
  );
}

/** Every format at every level. */
function Downloads({ series }: { series: SeriesDetail }) {
  const [level, setLevel] = useState(0);
  const chosen = series.level_details.find((detail) => detail.level === level) ?? series.level_details[0];
  if (!chosen || series.exports.length === 0) return null;
  const size = series.shape[0]! * chosen.rows * chosen.columns * series.samples * itemSize(series.dtype);
  return (
    <section>
      <Title order={2} size="h5" mb={8}>{text.downloads}</Title>
      <Select
        size="xs"
        label={text.resolution}
        value={String(level)}
        allowDeselect={false}
        onChange={(value) => setLevel(Number(value))}
        data={series.level_details.map((detail) => ({
          value: String(detail.level),
          label: text.resolutionOption(detail.level, detail.columns, detail.rows),
        }))}
      />
      <Group gap={6} mt={8}>
        {series.exports.map((format) => (
          <Button
            key={format}
            component="a"
            href={url.export(series.uid, format, level)}
            download
            size="compact-sm"
            variant="light"
            leftSection={<Download />}
            title={text.formatHints[format]}
          >
            {text.formatNames[format] ?? format}
          </Button>
        ))}
      </Group>
      <Text size="xs" c="dimmed" mt={6} className="numbers">{text.about(bytes(size))}</Text>
    </section>
  );
}
