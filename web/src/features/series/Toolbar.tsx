import { ActionIcon, Button, SegmentedControl, Select, Tooltip, VisuallyHidden } from "@mantine/core";
import type { ReactNode } from "react";

import type { SeriesDetail } from "../../api/client";
import { messages } from "../../messages";
import { Contrast, Full, Hand, Invert, Layers, Lens, Minus, Pause, Play, Plus, Reset, Side } from "../../ui/icons";
import type { ImageViewerUpdate, Tool, ViewerState } from "../../viewers/image/mount";
import { CT_PRESETS } from "../../viewers/image/window";

const text = messages.toolbar;

interface Props {
  series: SeriesDetail;
  state: ViewerState | null;
  change: (update: ImageViewerUpdate) => void;
  onHelp: () => void;
  side: boolean;
  onSide: (() => void) | undefined;
}

/** Always dark, like the image it belongs to. */
export function Toolbar({ series, state, change, onHelp, side, onSide }: Props) {
  const frames = series.shape[0]!;
  const ct = series.modality === "CT" || series.rescale_unit === "HU";
  const tools: { value: Tool; label: string; icon: ReactNode }[] = [
    { value: "window", label: text.window, icon: <Contrast /> },
    { value: "scroll", label: text.scroll, icon: <Layers /> },
    { value: "pan", label: text.pan, icon: <Hand /> },
    { value: "zoom", label: text.zoom, icon: <Lens /> },
  ];
  const usable = tools.filter(({ value }) => (value !== "scroll" || frames > 1) && (value !== "window" || (state?.windowed ?? true)));
  const preset = CT_PRESETS.find(({ center, width }) => center === state?.window?.center && width === state.window.width);
  return (
    <div className="tools" role="toolbar" aria-label={text.label}>
      <SegmentedControl
        size="xs"
        withItemsBorders={false}
        value={state?.tool ?? "window"}
        onChange={(value) => change({ tool: value as Tool })}
        aria-label={text.tool}
        data={usable.map(({ value, label, icon }) => ({
          value,
          label: (
            <Tooltip label={label}>
              <span style={{ display: "grid", placeItems: "center", height: 22, minWidth: 22 }}>
                {icon}
                <VisuallyHidden>{label}</VisuallyHidden>
              </span>
            </Tooltip>
          ),
        }))}
      />
      {ct && (
        <Select
          size="xs"
          w={138}
          aria-label={text.presets}
          placeholder={text.window}
          allowDeselect={false}
          value={preset?.name ?? null}
          comboboxProps={{ withinPortal: true }}
          data={CT_PRESETS.map(({ key, name }) => ({ value: name as string, label: `${key}  ${text.presetNames[name]}` }))}
          onChange={(name) => {
            const found = CT_PRESETS.find((one) => one.name === name);
            if (found) change({ window: { center: found.center, width: found.width }, focus: true });
          }}
        />
      )}
      {(state?.windowed ?? true) && (
        <Button size="compact-sm" variant="default" onClick={() => change({ window: null })}>{text.standard}</Button>
      )}
      <ActionIcon.Group>
        <Tool label={text.zoomOut} icon={<Minus />} onClick={() => change({ zoomBy: 0.8 })} />
        <Tool label={text.zoomIn} icon={<Plus />} onClick={() => change({ zoomBy: 1.25 })} />
        <Tool label={text.reset} icon={<Reset />} onClick={() => change({ reset: true })} />
      </ActionIcon.Group>
      <Tool label={text.invert} icon={<Invert />} pressed={state?.invert ?? false} onClick={() => change({ invert: !state?.invert })} />
      {frames > 1 && (
        <Tool
          label={state?.playing ? text.pause : text.play}
          icon={state?.playing ? <Pause /> : <Play />}
          onClick={() => change({ playing: !state?.playing, focus: true })}
        />
      )}
      <Tooltip label={text.fullHint}>
        <Button
          size="compact-sm"
          variant={state?.full ? "filled" : "default"}
          aria-pressed={state?.full ?? false}
          onClick={() => change({ full: !state?.full })}
        >
          {text.full}
        </Button>
      </Tooltip>
      <span className="push" />
      <Tool label={text.help} icon={<b aria-hidden="true">?</b>} onClick={onHelp} />
      <Tool label={text.fullscreen} icon={<Full />} onClick={() => change({ fullscreen: true })} />
      {onSide && <Tool label={text.details} icon={<Side />} pressed={side} onClick={onSide} />}
    </div>
  );
}

function Tool({ label, icon, onClick, pressed }: { label: string; icon: ReactNode; onClick: () => void; pressed?: boolean }) {
  return (
    <Tooltip label={label}>
      <ActionIcon
        variant={pressed ? "filled" : "default"}
        size={30}
        aria-label={label}
        {...(pressed === undefined ? {} : { "aria-pressed": pressed })}
        onClick={onClick}
      >
        {icon}
      </ActionIcon>
    </Tooltip>
  );
}
