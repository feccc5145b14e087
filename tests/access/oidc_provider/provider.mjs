// A provider of logins for the tests: Imarium's own client, people by any name, and their groups.
// Takes one JSON object as its argument: { port, redirect, jwks, secret }.
import Provider from "oidc-provider";

const { port, redirect, jwks, secret } = JSON.parse(process.argv[2]);
const people = {
  ann: { email: "ann@example.org", preferred_username: "Ann Example", groups: ["readers"] },
  root: { email: "root@example.org", preferred_username: "admin", groups: ["keepers"] },
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "imarium",
      client_secret: secret,
      redirect_uris: [redirect],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  jwks,
  cookies: { keys: ["of the tests"] },
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"], email: ["email"] },
  pkce: { required: () => true },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, ...people[id] }),
  }),
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
