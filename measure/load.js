// One load on one address, for k6. RATE requests arrive in each second, whether
// or not the ones before are answered; without RATE, each of CLIENTS sends its
// next request when it has the answer to the last.
import http from "k6/http";

const { URL, SECONDS, RATE, CLIENTS } = __ENV;
const open = {
  executor: "constant-arrival-rate",
  rate: Number(RATE),
  timeUnit: "1s",
  preAllocatedVUs: 64,
};
const closed = { executor: "constant-vus", vus: Number(CLIENTS) };

export const options = {
  discardResponseBodies: true,
  scenarios: { load: { ...(RATE ? open : closed), duration: `${SECONDS}s`, gracefulStop: "10s" } },
  summaryTrendStats: ["count", "med", "p(95)", "p(99)"],
};

export default function () {
  http.get(URL);
}

export function handleSummary(data) {
  return { stdout: JSON.stringify({ ...data.metrics, seconds: data.state.testRunDurationMs / 1000 }) };
}
