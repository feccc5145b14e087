import { Center, Loader } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useCallback, useEffect, useRef, useState } from "react";

import { api, type SeriesDetail } from "../../api/client";
import { messages } from "../../messages";
import { Problem } from "../../ui/Problems";
import { useTrail } from "../../ui/Shell";
import { sharedDecoders } from "../../viewers/image/decoders";
import { mount, type ImageViewerUpdate, type ViewerState } from "../../viewers/image/mount";
import type { Viewer } from "../../viewers/types";
import { Details } from "./Details";
import { Help } from "./Help";
import { titleOf } from "./SeriesCard";
import { Toolbar } from "./Toolbar";

export function SeriesPage() {
  const { uid } = useParams({ from: "/series/$uid" });
  const query = useQuery({ queryKey: ["one series", uid], queryFn: ({ signal }) => api.series(uid, signal) });
  // The decoder loads while the series' facts are on their way.
  useEffect(() => void sharedDecoders(), []);
  const series = query.data;
  const title = series ? titleOf(series) : "";
  useTrail(
    series && (
      <>
        <Link to="/collections/$name" params={{ name: series.collection }}>{series.collection}</Link>
        <i aria-hidden="true">/</i>
        <span aria-current="page">{title}</span>
      </>
    ),
    title,
  );
  if (query.error) {
    return <main className="page"><Problem error={query.error} retry={() => void query.refetch()} /></main>;
  }
  if (!series) return <Center mih="70vh"><Loader /></Center>;
  return <Work key={series.uid} series={series} />;
}

function Work({ series }: { series: SeriesDetail }) {
  const [state, setState] = useState<ViewerState | null>(null);
  const [help, setHelp] = useState(false);
  const [side, setSide] = useState(true);
  const narrow = useMediaQuery("(max-width: 900px)", false, { getInitialValueInEffect: false });
  const stage = useRef<HTMLDivElement>(null);
  const viewer = useRef<Viewer<ImageViewerUpdate> | null>(null);
  const change = useCallback((update: ImageViewerUpdate) => viewer.current?.update(update), []);

  useEffect(() => {
    const mounted = mount(stage.current!, {
      series,
      title: titleOf(series),
      onState: (next) => setState((old) => (old && same(old, next) ? old : next)),
      onHelp: () => setHelp(true),
    });
    viewer.current = mounted;
    if (!matchMedia("(pointer: coarse)").matches) mounted.update({ focus: true });
    return () => {
      viewer.current = null;
      mounted.dispose();
    };
  }, [series]);

  return (
    <main className="series" data-wide={side ? undefined : true}>
      <h1 className="imv-hidden">{titleOf(series)}</h1>
      <section className="work">
        <Toolbar series={series} state={state} change={change} onHelp={() => setHelp(true)}
          side={side} onSide={narrow ? undefined : () => setSide(!side)} />
        <div className="stage" ref={stage} />
      </section>
      {side && (
        <aside className="side" aria-label={messages.details.title}>
          <Details series={series} />
        </aside>
      )}
      <Help opened={help} onClose={() => { setHelp(false); change({ focus: true }); }} />
    </main>
  );
}

/** Only what the toolbar shows; the viewer writes its own numbers. */
function same(a: ViewerState, b: ViewerState): boolean {
  const keys = ["invert", "smooth", "full", "playing", "tool", "windowed"] as const;
  return keys.every((key) => a[key] === b[key]) && a.window?.center === b.window?.center && a.window?.width === b.window?.width;
}
