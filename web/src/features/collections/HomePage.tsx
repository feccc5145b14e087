import { Badge, Code, Group, Skeleton, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { api, url, type Collection } from "../../api/client";
import { bytes, count, percent } from "../../format";
import { messages } from "../../messages";
import { Problem } from "../../ui/Problems";
import { useTrail } from "../../ui/Shell";

const text = messages.home;

export function HomePage() {
  useTrail(null, "");
  const query = useQuery({ queryKey: ["collections"], queryFn: ({ signal }) => api.collections(signal) });
  return (
    <main className="page">
      <Title order={1} size="h2">{text.title}</Title>
      <Text c="dimmed" mt={4} mb="lg" maw={640}>{text.intro}</Text>
      {query.error && <Problem error={query.error} retry={() => void query.refetch()} />}
      {query.data?.total === 0 && (
        <Text c="dimmed">{text.empty} <Code>imarium add DIR</Code></Text>
      )}
      <div className="grid cards">
        {query.isPending && [0, 1, 2].map((i) => <Skeleton key={i} height={230} radius={12} />)}
        {query.data?.items.map((item) => <CollectionCard key={item.name} item={item} />)}
      </div>
    </main>
  );
}

function CollectionCard({ item }: { item: Collection }) {
  const share = item.source_bytes > 0 ? item.stored_bytes / item.source_bytes : 1;
  return (
    <Link to="/collections/$name" params={{ name: item.name }} className="tile" data-collection={item.name}>
      <Previews collection={item.name} />
      <div className="body">
        <Group justify="space-between" wrap="nowrap" align="flex-start">
          <Text fw={650} size="lg" component="h2" className="clamp">{item.name}</Text>
          {share < 0.995 && (
            <Badge color="teal" variant="light" style={{ flexShrink: 0 }} tt="none">
              {text.smaller(percent(1 - share))}
            </Badge>
          )}
        </Group>
        {item.description && <Text size="sm" c="dimmed" className="clamp">{item.description}</Text>}
        <Text size="sm" className="numbers" mt="auto" pt={6}>
          <b>{count(item.studies)}</b> {text.studies(item.studies)} · <b>{count(item.series)}</b> {text.series(item.series)}
        </Text>
        <div className="meter" role="img" aria-label={text.sourceBar}>
          <div style={{ width: `${Math.min(100, Math.max(1, share * 100))}%` }} />
        </div>
        <Text size="xs" c="dimmed" className="numbers">
          {text.storedOf(bytes(item.stored_bytes), bytes(item.source_bytes))}
        </Text>
      </div>
    </Link>
  );
}

/** A first look: three series of the collection. */
function Previews({ collection }: { collection: string }) {
  const query = useQuery({
    queryKey: ["previews", collection],
    queryFn: ({ signal }) => api.seriesList({ collection, offset: 0, limit: 3 }, signal),
  });
  const items = query.data?.items ?? [];
  return (
    <div className="strip" aria-hidden="true">
      {items.map(({ uid }) => (
        <div className="thumb" key={uid}>
          <img src={url.thumbnail(uid, 256)} alt="" loading="lazy" decoding="async" />
        </div>
      ))}
    </div>
  );
}
