import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";

import { CollectionPage, type CollectionSearch } from "./features/collections/CollectionPage";
import { HomePage } from "./features/collections/HomePage";
import { SeriesPage } from "./features/series/SeriesPage";
import { NotFound, RouteError } from "./ui/Problems";
import { Shell } from "./ui/Shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound, errorComponent: RouteError });

const home = createRoute({ getParentRoute: () => root, path: "/", component: HomePage });

const collection = createRoute({
  getParentRoute: () => root,
  path: "/collections/$name",
  component: CollectionPage,
  validateSearch: (search: Record<string, unknown>): CollectionSearch => ({
    view: search.view === "studies" ? "studies" : undefined,
    study: typeof search.study === "string" ? search.study : undefined,
    page: Number(search.page) > 1 ? Math.floor(Number(search.page)) : undefined,
  }),
});

const series = createRoute({ getParentRoute: () => root, path: "/series/$uid", component: SeriesPage });

export const router = createRouter({
  routeTree: root.addChildren([home, collection, series]),
  defaultPreload: false,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
