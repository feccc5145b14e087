import { Badge, Group, Pagination, SegmentedControl, Skeleton, Table, Text, Title } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";

import { api, type Study } from "../../api/client";
import { bytes, date } from "../../format";
import { messages } from "../../messages";
import { Problem } from "../../ui/Problems";
import { useTrail } from "../../ui/Shell";
import { SeriesCard } from "../series/SeriesCard";

const { collection: text, home } = messages;
const PAGE = 48;

export interface CollectionSearch {
  view?: "studies" | undefined;
  /** Only the series of this study. */
  study?: string | undefined;
  page?: number | undefined;
}

export function CollectionPage() {
  const { name } = useParams({ from: "/collections/$name" });
  const { view, study, page = 1 } = useSearch({ from: "/collections/$name" });
  const navigate = useNavigate({ from: "/collections/$name" });
  useTrail(
    <>
      <Link to="/">{messages.app.collections}</Link>
      <i aria-hidden="true">/</i>
      <span aria-current="page">{name}</span>
    </>,
    name,
  );
  const range = { offset: (page - 1) * PAGE, limit: PAGE };
  const series = useQuery({
    queryKey: ["series", name, study, page],
    queryFn: ({ signal }) => api.seriesList({ collection: name, study: study ?? "", ...range }, signal),
    enabled: view !== "studies",
    placeholderData: keepPreviousData,
  });
  const studies = useQuery({
    queryKey: ["studies", name, page],
    queryFn: ({ signal }) => api.studies({ collection: name, ...range }, signal),
    enabled: view === "studies",
    placeholderData: keepPreviousData,
  });
  const collections = useQuery({ queryKey: ["collections"], queryFn: ({ signal }) => api.collections(signal) });
  const about = collections.data?.items.find((item) => item.name === name);
  const query = view === "studies" ? studies : series;
  const total = query.data?.total ?? 0;
  const pages = Math.ceil(total / PAGE);
  return (
    <main className="page">
      <Group justify="space-between" align="flex-start" mb="lg" gap="sm">
        <div>
          <Title order={1} size="h2" className="clamp">{name}</Title>
          {about?.description && <Text c="dimmed" mt={2}>{about.description}</Text>}
          {about && (
            <Text size="sm" c="dimmed" className="numbers" mt={2}>
              {home.storedOf(bytes(about.stored_bytes), bytes(about.source_bytes))}
            </Text>
          )}
        </div>
        <SegmentedControl
          value={view ?? "series"}
          onChange={(value) => void navigate({ search: { view: value === "studies" ? "studies" : undefined } })}
          data={[
            { value: "series", label: text.series },
            { value: "studies", label: text.studies },
          ]}
        />
      </Group>
      {study && view !== "studies" && (
        <Group mb="md" gap="xs">
          <Badge variant="light" size="lg" tt="none">
            {text.study}: {series.data?.items[0]?.study_description || series.data?.items[0]?.subject || study}
          </Badge>
          <Link to="/collections/$name" params={{ name }}>{text.allStudies}</Link>
        </Group>
      )}
      {query.error && <Problem error={query.error} retry={() => void query.refetch()} />}
      {query.data && total === 0 && <Text c="dimmed">{text.empty}</Text>}
      {view === "studies" ? (
        <StudyTable items={studies.data?.items ?? []} name={name} />
      ) : (
        <div className="grid gallery">
          {series.isPending && Array.from({ length: 12 }, (_, i) => <Skeleton key={i} height={270} radius={12} />)}
          {series.data?.items.map((item) => <SeriesCard key={item.uid} item={item} />)}
        </div>
      )}
      {total > 0 && (
        <Group justify="space-between" mt="lg">
          <Text size="sm" c="dimmed" className="numbers">
            {text.showing(range.offset + 1, Math.min(total, range.offset + PAGE), total)}
          </Text>
          {pages > 1 && (
            <Pagination
              total={pages}
              value={page}
              onChange={(next) => void navigate({ search: (old) => ({ ...old, page: next > 1 ? next : undefined }) })}
              aria-label={text.pages}
            />
          )}
        </Group>
      )}
    </main>
  );
}

function StudyTable({ items, name }: { items: Study[]; name: string }) {
  if (items.length === 0) return null;
  return (
    <Table.ScrollContainer minWidth={560}>
      <Table highlightOnHover verticalSpacing="sm">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{text.description}</Table.Th>
            <Table.Th>{text.subject}</Table.Th>
            <Table.Th>{text.date}</Table.Th>
            <Table.Th>{text.modalities}</Table.Th>
            <Table.Th ta="right">{text.series}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {items.map((item) => (
            <Table.Tr key={item.uid}>
              <Table.Td>
                <Link to="/collections/$name" params={{ name }} search={{ study: item.uid }}>
                  {item.description || text.untitled}
                </Link>
              </Table.Td>
              <Table.Td>{item.subject}</Table.Td>
              <Table.Td className="numbers">{date(item.date)}</Table.Td>
              <Table.Td>
                <Group gap={4}>
                  {item.modalities.map((modality) => <Badge key={modality} variant="light">{modality}</Badge>)}
                </Group>
              </Table.Td>
              <Table.Td ta="right" className="numbers">{item.series}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
