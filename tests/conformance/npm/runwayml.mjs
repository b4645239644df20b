// What a program does with Runway's npm SDK, against $RUNWAYML_BASE_URL with the keys $LIVE_KEY and $TEST_KEY.
// Prints what it saw as JSON.
import RunwayML, { TaskFailedError, toFile } from '@runwayml/sdk';
import { readFile } from 'node:fs/promises';

const client = new RunwayML({ apiKey: process.env.LIVE_KEY, maxRetries: 0 });
const tester = new RunwayML({ apiKey: process.env.TEST_KEY, maxRetries: 0 });
const stranger = new RunwayML({ apiKey: 'key_wrong', maxRetries: 0 });
const seen = {};

async function failing(call) {
  try {
    await call();
    return 'no error';
  } catch (error) {
    return { class: error.constructor.name, status: error.status, message: error.message };
  }
}

const upload = await client.uploads.createEphemeral({
  file: await toFile(await readFile(process.env.PICTURE), 'picture.png'),
});
seen.upload = upload.uri;

const small = { model: 'seedance2', ratio: '128:128', duration: 1 };
const created = client.imageToVideo.create({ ...small, promptImage: upload.uri, promptText: 'a slow zoom' });
const failed = tester.textToVideo.create({ ...small, promptText: 'genway:fail=moderation' });
seen.estimated = (await created).estimatedCost.credits;
const [task, failure] = await Promise.all([
  created.waitForTaskOutput(),
  failed.waitForTaskOutput().catch((error) => error),
]);
seen.task = { status: task.status, outputs: task.output.length, createdAt: task.createdAt, cost: task.cost };
const video = Buffer.from(await (await fetch(task.output[0])).arrayBuffer());
seen.video = video.subarray(4, 8).toString();
seen.failure = {
  is: failure instanceof TaskFailedError,
  message: failure.message,
  code: failure.taskDetails?.failureCode,
};

const doomed = await tester.textToVideo.create({ ...small, promptText: 'genway:delay=60' });
seen.pending = (await tester.tasks.retrieve(doomed.id)).status;
await tester.tasks.delete(doomed.id);
seen.deleted = await failing(() => tester.tasks.retrieve(doomed.id));

seen.credits = (await client.organization.retrieve()).creditBalance;
seen.bad = await failing(() =>
  client.imageToVideo.create({ model: 'gen4_turbo', promptImage: upload.uri, ratio: '1280:720', duration: 11 }),
);
seen.stranger = await failing(() => stranger.tasks.retrieve(doomed.id));
seen.unknown = await failing(() => client.tasks.retrieve('nothing'));
console.log(JSON.stringify(seen));
