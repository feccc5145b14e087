// Fails if the committed types are not what openapi.json generates.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "imarium-api-"));
try {
  const generated = join(folder, "schema.d.ts");
  const tool = join(web, "node_modules", "openapi-typescript", "bin", "cli.js");
  execFileSync(process.execPath, [tool, "openapi.json", "-o", generated], { cwd: web, stdio: ["ignore", "ignore", "inherit"] });
  if (readFileSync(generated, "utf8") !== readFileSync(join(web, "src/api/schema.d.ts"), "utf8")) {
    console.error("src/api/schema.d.ts does not match openapi.json: run `npm run generate` and commit it");
    process.exitCode = 1;
  } else {
    console.log("src/api/schema.d.ts matches openapi.json");
  }
} finally {
  rmSync(folder, { recursive: true });
}
