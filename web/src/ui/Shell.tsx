import { ActionIcon, Tooltip, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { Link, Outlet } from "@tanstack/react-router";
import { createContext, useContext, useEffect, useState, type ReactNode } from "react";

import { messages } from "../messages";
import { Moon, Sun } from "./icons";

interface Trail {
  set(crumbs: ReactNode, title: string): void;
}

const TrailContext = createContext<Trail>({ set: () => undefined });

/** Pages say where they are: links for the header and the title of the window. */
export function useTrail(crumbs: ReactNode, title: string): void {
  const trail = useContext(TrailContext);
  // The title names everything the links depend on.
  useEffect(() => trail.set(crumbs, title), [trail, title]);
}

export function Shell() {
  const [crumbs, setCrumbs] = useState<ReactNode>(null);
  const [trail] = useState<Trail>(() => ({
    set(next, title) {
      setCrumbs(next);
      document.title = title ? `${title} – ${messages.app.name}` : messages.app.name;
    },
  }));
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  return (
    <TrailContext.Provider value={trail}>
      <a className="skip" href="#content">{messages.app.skip}</a>
      <header className="header">
        <Link to="/" className="brand" aria-label={messages.app.name}>
          <img src="/favicon.svg" width="26" height="26" alt="" />
          <span className="brand-name">{messages.app.name}</span>
        </Link>
        <nav className="crumbs" aria-label={messages.app.menu}>{crumbs}</nav>
        <Tooltip label={messages.app.toggleTheme}>
          <ActionIcon
            variant="default"
            size="lg"
            aria-label={messages.app.toggleTheme}
            onClick={() => setColorScheme(scheme === "dark" ? "light" : "dark")}
          >
            {scheme === "dark" ? <Sun /> : <Moon />}
          </ActionIcon>
        </Tooltip>
      </header>
      <div id="content">
        <Outlet />
      </div>
    </TrailContext.Provider>
  );
}
