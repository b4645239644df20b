// What a published client of Kling's format sees: it makes its tokens of an access key and a secret key.
import { KlingAPI } from "kling-api";

const client = (key) => {
  // It insists on https, which a server of a test has not: only its address is changed, after that check.
  const api = new KlingAPI({ accessKey: key, secretKey: key, baseUrl: "https://gateway.example/kling" });
  api.client.defaults.baseURL = `${process.env.GATEWAY}/kling`;
  return api;
};

const failure = async (work) => {
  try {
    await work();
  } catch (error) {
    return { class: error.name, code: error.code, status: error.httpStatus, message: error.message };
  }
};

const api = client(process.env.TEST_KEY);
const body = { model_name: "kling-v2", prompt: "a paper boat", aspect_ratio: "1:1", external_task_id: "from-npm" };
const made = await api.generateImage(body);
const done = await api.waitForImageResult(made.data.task_id, undefined, { interval: 200, showSpinner: false });
const image = await fetch(done.data.task_result.images[0].url);
const failing = await api.generateImage({ ...body, prompt: "genway:fail=moderation", external_task_id: undefined });
const costs = await api.getAccountInfo(1, Date.now());

console.log(
  JSON.stringify({
    made: made.data.task_status,
    own: (await api.queryImageGenTask("from-npm")).data.task_id === made.data.task_id,
    type: image.headers.get("content-type"),
    failed: await failure(() => api.waitForImageResult(failing.data.task_id, undefined, { interval: 200, showSpinner: false })),
    again: await failure(() => api.generateImage(body)),
    unknown: await failure(() => api.queryTextToVideoTask("nothing")),
    stranger: await failure(() => client("gw_test_nobody_knows_this_key_0123456789").queryTextToVideoTask("nothing")),
    pack: costs.data.resource_pack_subscribe_infos[0].resource_pack_name,
  }),
);
