import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "/",
  plugins: [react()],
  build: {
    outDir: "../src/imarium/faces/http/web",
    emptyOutDir: true,
    // The licences of what is bundled go where the bundle goes.
    license: { fileName: "licenses.md" },
    // The page loads nothing from data: or foreign addresses, so that a strict content policy can hold.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 900,
  },
  worker: { format: "es" },
  server: { proxy: { "/api": process.env.IMARIUM_API ?? "http://127.0.0.1:8000" } },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
