/** What every viewer offers: plain TypeScript, so that it runs in any page. */

export interface Viewer<Update> {
  update(change: Update): void;
  dispose(): void;
}

export type Mount<Options, Update> = (element: HTMLElement, options: Options) => Viewer<Update>;
