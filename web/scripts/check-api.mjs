// Fails if the committed types are not what openapi.json generates.
import { readFileSync } from "node:fs";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";

const description = new URL("../openapi.json", import.meta.url);
const committed = readFileSync(new URL("../src/api/schema.d.ts", import.meta.url), "utf8");
const generated = COMMENT_HEADER + astToString(await openapiTS(description));
if (generated.trim() !== committed.trim()) {
  console.error("src/api/schema.d.ts does not match openapi.json: run `npm run generate` and commit it");
  process.exit(1);
}
console.log("src/api/schema.d.ts matches openapi.json");
