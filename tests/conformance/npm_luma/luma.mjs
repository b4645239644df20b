// What programs do with Luma's npm SDK and with Vercel's, against the gateway at $GATEWAY with the keys $LIVE_KEY and $TEST_KEY.
// Prints what they saw as JSON.
import { createLuma } from '@ai-sdk/luma';
import { generateImage } from 'ai';
import LumaAI from 'lumaai';

const baseURL = `${process.env.GATEWAY}/dream-machine/v1`;
const client = new LumaAI({ authToken: process.env.LIVE_KEY, baseURL, maxRetries: 0 });
const tester = new LumaAI({ authToken: process.env.TEST_KEY, baseURL, maxRetries: 0 });
const stranger = new LumaAI({ authToken: 'luma-wrong', baseURL, maxRetries: 0 });
const vercel = (apiKey) => createLuma({ apiKey, baseURL: process.env.GATEWAY });
const seen = {};

async function failing(call) {
  try {
    await call();
    return 'no error';
  } catch (error) {
    return { class: error.constructor.name, status: error.status ?? error.statusCode, message: error.message };
  }
}

async function ended(sdk, id) {
  for (;;) {
    const generation = await sdk.generations.get(id);
    if (['completed', 'failed'].includes(generation.state)) return generation;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

seen.ping = (await client.ping.check()).message;
seen.concepts = (await client.generations.concepts.list()).includes('orbit_left');
seen.credits = (await client.credits.get()).credit_balance;

const small = { model: 'ray-2', aspect_ratio: '1:1', resolution: '540p' };
const picture = await client.generations.image.create({ model: 'photon-1', prompt: 'a lighthouse', aspect_ratio: '1:1' });
seen.begun = { state: picture.state, type: picture.generation_type };
const image = await ended(client, picture.id);
seen.image = { state: image.state, bytes: (await (await fetch(image.assets.image)).arrayBuffer()).byteLength };

const failed = await tester.generations.create({ ...small, prompt: 'genway:fail=moderation' });
const failure = await ended(tester, failed.id);
seen.failure = { state: failure.state, reason: failure.failure_reason };

const doomed = await tester.generations.video.create({ ...small, prompt: 'genway:delay=60' });
seen.listed = (await tester.generations.list({ limit: 1 })).generations[0].id === doomed.id;
await tester.generations.delete(doomed.id);
seen.deleted = await failing(() => tester.generations.get(doomed.id));
seen.bad = await failing(() => client.generations.create({ ...small, prompt: 'a boat', duration: '7s' }));
seen.stranger = await failing(() => stranger.ping.check());

const { image: made } = await generateImage({
  model: vercel(process.env.LIVE_KEY).image('photon-flash-1'),
  prompt: 'a harbour',
  aspectRatio: '1:1',
  maxRetries: 0,
});
seen.vercel = { type: made.mediaType, bytes: made.uint8Array.length };
seen.vercelBad = await failing(() =>
  generateImage({ model: vercel(process.env.LIVE_KEY).image('photon-1'), prompt: 'x', maxRetries: 0 }),
);
console.log(JSON.stringify(seen));
