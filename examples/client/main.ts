/**
 * Starts a workflow, follows its run to the end, and lists the latest runs:
 *
 *     node examples/client/main.ts http://127.0.0.1:8080/graphql <token> <workflow id> '{"total": 120}'
 */
import { FlowgresClient } from './client.ts';
import { listRuns, runEvents, startRun } from './generated.ts';

const [url, token, workflow, input = '{}'] = process.argv.slice(2);
if (!url || !token || !workflow) throw new Error('usage: main.ts <url> <token> <workflow id> [input]');

const client = new FlowgresClient(url, token);
const { startWorkflowRun } = await client.request(startRun, { workflow, input: JSON.parse(input) });
const run = startWorkflowRun!.workflowRun;
console.log(`run ${run.id}`);
for await (const { workflowRunEvents } of client.follow(runEvents, { run: run.id }, (data) => ({ after: data.workflowRunEvents!.seq }))) {
  const { seq, type, payload } = workflowRunEvents!;
  console.log(`${seq} ${type} ${JSON.stringify(payload)}`);
}
const { workflowRuns } = await client.request(listRuns, { first: 5 });
for (const each of workflowRuns!.nodes) console.log(`${each.id} ${each.status} ${each.workflow?.name}`);
await client.close();
