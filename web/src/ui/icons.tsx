import type { ReactNode } from "react";

const icon = (paths: ReactNode) =>
  function Icon() {
    return (
      <svg width="18" height="18" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.9"
        strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
        {paths}
      </svg>
    );
  };

export const Sun = icon(<><circle cx="12" cy="12" r="4" /><path d="M12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1" /></>);
export const Moon = icon(<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z" />);
export const Contrast = icon(<><circle cx="12" cy="12" r="8.5" /><path d="M12 3.5a8.5 8.5 0 0 1 0 17z" fill="currentColor" /></>);
export const Layers = icon(<><path d="M12 4 3.5 8.5 12 13l8.5-4.5z" /><path d="m3.5 12.5 8.5 4.5 8.5-4.5M3.5 16.5 12 21l8.5-4.5" /></>);
export const Hand = icon(<path d="M12 3v18M3 12h18M12 3 9.5 5.5M12 3l2.5 2.5M12 21l-2.5-2.5M12 21l2.5-2.5M3 12l2.5-2.5M3 12l2.5 2.5M21 12l-2.5-2.5M21 12l-2.5 2.5" />);
export const Lens = icon(<><circle cx="10.5" cy="10.5" r="6.5" /><path d="m15.5 15.5 5 5" /></>);
export const Plus = icon(<><circle cx="10.5" cy="10.5" r="6.5" /><path d="m15.5 15.5 5 5M10.5 8v5M8 10.5h5" /></>);
export const Minus = icon(<><circle cx="10.5" cy="10.5" r="6.5" /><path d="m15.5 15.5 5 5M8 10.5h5" /></>);
export const Invert = icon(<><rect x="4" y="4" width="16" height="16" rx="3" /><path d="M4.5 19.5 19.5 4.5V18a1.5 1.5 0 0 1-1.5 1.5z" fill="currentColor" /></>);
export const Reset = icon(<><path d="M4 12a8 8 0 1 0 2.6-5.9L4 8.5" /><path d="M4 4v4.5h4.5" /></>);
export const Play = icon(<path d="M7 4.5v15l12-7.5z" fill="currentColor" />);
export const Pause = icon(<path d="M8 5v14M16 5v14" strokeWidth="3" />);
export const Full = icon(<path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5" />);
export const Side = icon(<><rect x="3.5" y="5" width="17" height="14" rx="2" /><path d="M15 5v14" /></>);
export const Download = icon(<path d="M12 4v11M7.5 11 12 15.5 16.5 11M5 20h14" />);
