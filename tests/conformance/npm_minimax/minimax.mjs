// What Vercel's SDK for MiniMax's second format sees.
import { createMiniMax } from "@ai-sdk/minimax";

const model = (apiKey, name = "MiniMax-H3") => createMiniMax({ apiKey, videoBaseURL: process.env.GATEWAY }).video(name);

const picture = { type: "file", mediaType: "image/png", data: Uint8Array.from(Buffer.from(process.env.PICTURE, "base64")) };
const options = { pollIntervalMs: 200, pollTimeoutMs: 90_000, resolution: "768P" };
const ask = (asked, { key = process.env.KEY, ...more } = {}) =>
  model(key).doGenerate({ n: 1, duration: 4, ...asked, providerOptions: { minimax: { ...options, ...more } } });

const failure = async (work) => {
  try {
    await work();
  } catch (error) {
    return { class: error.name, status: error.statusCode, message: error.message };
  }
};

const made = await ask({ prompt: "a paper boat", aspectRatio: "1:1" });
const framed = await ask({ prompt: "it sails", image: picture });
const clip = await fetch(made.videos[0].url);

console.log(
  JSON.stringify({
    type: made.videos[0].mediaType,
    bytes: (await clip.arrayBuffer()).byteLength,
    told: made.providerMetadata.minimax,
    framed: framed.providerMetadata.minimax,
    failed: await failure(() => ask({ prompt: "genway:fail=moderation" })),
    led: await failure(() => ask({ prompt: "as here", inputReferences: [{ type: "url", url: "https://a.example/1.mp4", mediaType: "video/mp4" }] })),
    stranger: await failure(() => ask({ prompt: "a boat" }, { key: "gw_test_nobody_knows_this_key_0123456789" })),
    unknown: await failure(() => model(process.env.KEY, "MiniMax-Of-Nobody").doGenerate({ n: 1, prompt: "a boat" })),
  }),
);
