import { Alert, Button, Center, Stack, Text, Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import { messages } from "../messages";

/** An error in place of what should be there, with a way to go on. */
export function Problem({ error, retry }: { error: Error; retry?: () => void }) {
  return (
    <Alert color="red" title={messages.app.failed} role="alert" my="md">
      <Text size="sm">{error.message}</Text>
      {retry && (
        <Button mt="sm" size="xs" color="red" variant="light" onClick={retry}>
          {messages.app.retry}
        </Button>
      )}
    </Alert>
  );
}

export function NotFound() {
  return (
    <Center mih="60vh">
      <Stack align="center">
        <Title order={2}>{messages.app.notFound}</Title>
        <Link to="/">{messages.app.home}</Link>
      </Stack>
    </Center>
  );
}

export function RouteError({ error }: { error: unknown }) {
  return (
    <main className="page">
      <Problem error={error instanceof Error ? error : new Error(String(error))} retry={() => location.reload()} />
    </main>
  );
}
