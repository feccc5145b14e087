import { Kbd, Modal, Table, Title } from "@mantine/core";

import { messages } from "../../messages";

const text = messages.help;

export function Help({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const part = (title: string, rows: readonly (readonly [string, string] | readonly string[])[]) => (
    <section>
      <Title order={3} size="h5" mt="sm" mb={4}>{title}</Title>
      <Table verticalSpacing={5} withRowBorders={false}>
        <Table.Tbody>
          {rows.map(([keys, what]) => (
            <Table.Tr key={keys}>
              <Table.Td w={190}><Kbd size="sm">{keys}</Kbd></Table.Td>
              <Table.Td>{what}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </section>
  );
  return (
    <Modal opened={opened} onClose={onClose} title={text.title} size="lg" returnFocus={false}>
      {part(text.mouse, text.rows.mouse)}
      {part(text.touch, text.rows.touch)}
      {part(text.keys, text.rows.keys)}
    </Modal>
  );
}
